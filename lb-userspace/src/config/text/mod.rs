//! The text of a configuration: TOML with places, and mistakes that point to them.

pub(crate) mod diagnostic;
pub(crate) mod json;
pub(crate) mod key_locations;
pub(crate) mod load_error;
pub(crate) mod named_file;
pub(crate) mod reader;
pub(crate) mod scalar;
pub(crate) mod section;
pub(crate) mod span;
pub(crate) mod texts;
