//! The log: events on standard error, as text or one JSON object per line.

use std::io;

use anyhow::Context;
use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// Which events are logged, in the syntax of `tracing_subscriber::EnvFilter`.
const VARIABLE: &str = "LB_LOG";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    Text,
    Json,
}

/// Starts the log. Must be called once.
pub(super) fn start(format: LogFormat) -> anyhow::Result<()> {
    let filter = match std::env::var(VARIABLE) {
        Ok(words) if !words.trim().is_empty() => parse(&words)?,
        _ => EnvFilter::new("info"),
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match format {
        LogFormat::Text => builder.with_ansi(super::output::has_colours(&io::stderr())).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    }
    .map_err(anyhow::Error::from_boxed)
    .context("cannot start the log")
}

fn parse(words: &str) -> anyhow::Result<EnvFilter> {
    EnvFilter::try_new(words).map_err(|error| {
        anyhow::anyhow!(
            "{VARIABLE} is `{words}`: {error}; write a level such as `debug`, or `lb::health=trace,info`"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_levels_and_modules() {
        for words in ["debug", "lb::health=trace,info", "off"] {
            assert!(parse(words).is_ok(), "{words}");
        }
        let error = parse("lb=loud").expect_err("not a level");
        assert!(error.to_string().contains("LB_LOG is `lb=loud`"));
    }
}
