//! The services and backends that the table's frames meet.

mod addresses;
mod filled;
pub mod guarded;
pub mod limits;
pub mod members;
pub mod modes;

pub use self::{
    addresses::*,
    filled::{filled, model, model_of},
};
