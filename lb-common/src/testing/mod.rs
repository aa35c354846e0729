//! What tests share: frames made by an independent library, ordinary maps, and the table of
//! frames whose verdicts hold on the host and in the kernel alike.

pub mod buffer;
mod count;
mod crowd;
pub mod dialogue;
pub mod frames;
pub mod model;
mod pieces;
mod segments;
pub mod sources;
pub mod table;
pub mod tunnels;
pub mod world;

pub use frames::Frame;
pub use model::Model;
pub use table::{Row, rows};
pub use world::{guarded, modes};
