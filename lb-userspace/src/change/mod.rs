//! What differs between the running configuration and the desired one: pure, and readable as text.
//!
//! [`plan()`] compares the two, [`ConfigChange::sentences`] tells the operator what will happen.
//! Nothing here changes anything. In files: `text → services, settings → plan`.

mod plan;
mod services;
mod settings;
mod text;

pub use self::{
    plan::{ConfigChange, plan},
    services::{ServiceChange, ServiceDifference},
    settings::{Effect, SettingChange},
};
