//! Text to a validated [`crate::settings::Config`]: the only module that knows TOML.
