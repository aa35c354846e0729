//! Text to a validated [`Config`](crate::settings::Config): the only module that knows TOML.
//!
//! In rooms, each of which imports only those before it: `text → values → tables → checks`. The
//! reader walks the TOML tree and collects mistakes; a file per table reads its keys; checks refuse
//! what one service, or several, must not say together.

mod checks;
mod load;
mod tables;
#[cfg(test)]
mod tests;
mod text;
mod values;
mod whereabouts;

pub use self::{
    load::{load, load_examined, parse},
    text::{
        diagnostic::{Diagnostic, Errors, Span},
        load_error::LoadError,
        named_file::NamedFile,
    },
    whereabouts::{Whereabouts, load_whereabouts},
};
