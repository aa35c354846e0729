//! The client of the API: asks the running daemon.

mod commands;
mod exchange;
mod objects;

pub use self::{
    commands::{drain, explain, flows, reload, status, trace, upgrade},
    exchange::RequestRefused,
    objects::{Found, list, order, read, write},
};
