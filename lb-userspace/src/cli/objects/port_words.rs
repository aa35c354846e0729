//! Ports in words: `443:8080/http+tls`.

use std::{num::NonZeroU16, str::FromStr};

use serde_json::{Value, json};

/// A port of a service, as it is written on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PortWords {
    port: NonZeroU16,
    /// Where the servers listen.
    pub(super) internal: Option<NonZeroU16>,
    handlers: Vec<String>,
    pub(super) is_udp: bool,
}

impl FromStr for PortWords {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (numbers, words) = text.split_once('/').unwrap_or((text, ""));
        let (port, internal) = match numbers.split_once(':') {
            Some((port, internal)) => (port, Some(internal)),
            None => (numbers, None),
        };
        let number = |text: &str| {
            text.parse::<NonZeroU16>().map_err(|_| format!("`{text}` is no port from 1 to 65535"))
        };
        let mut handlers: Vec<_> =
            words.split('+').filter(|word| !word.is_empty()).map(str::to_owned).collect();
        let is_udp = handlers == ["udp"];
        if is_udp || handlers == ["tcp"] {
            handlers.clear();
        }
        let known = ["http", "pg_tls", "proxy_proto", "redirect", "tls"];
        match handlers.iter().find(|word| !known.contains(&&***word)) {
            Some(word) => Err(format!("`{word}` is no handler: write {}", known.join(", "))),
            None => Ok(Self {
                port: number(port)?,
                internal: internal.map(number).transpose()?,
                handlers,
                is_udp,
            }),
        }
    }
}

impl PortWords {
    /// The port as the API has it.
    pub(super) fn json(&self) -> Value {
        let Self { port, handlers, .. } = self;
        match &handlers[..] {
            [] => json!({ "port": port }),
            handlers => json!({ "port": port, "handlers": handlers }),
        }
    }
}
