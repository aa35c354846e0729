//! The reasons why a server is not healthy.

use std::{error::Error, io, time::Duration};

use hyper::{StatusCode, http};

use crate::exhaustion::FailureCause;

/// Why a server is not healthy, as a message.
#[derive(Debug, thiserror::Error)]
pub enum CheckFailure {
    #[error("no answer within {}", humantime::format_duration(*.0))]
    Timeout(Duration),
    #[error(
        "no answer within {} by `{}`: the server needs the announced addresses{}",
        humantime::format_duration(*.0), .1,
        if *.1 == "l2" { "" } else { ", and must remove the outer header" }
    )]
    Unreached(Duration, &'static str),
    #[error("this host did not attend to the check for {}", humantime::format_duration(*.0))]
    Neglected(Duration),
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    #[error("the route to it cannot be found: {0}")]
    NoRoute(io::Error),
    #[error("the connection broke: {0}")]
    Broken(io::Error),
    #[error("no HTTP response: {0}")]
    Http(#[from] hyper::Error),
    #[error("answered {got} instead of {wanted}")]
    Status { got: StatusCode, wanted: String },
    #[error("the check's request cannot be made: {0}")]
    Request(#[from] http::Error),
}

impl CheckFailure {
    /// Returns whose fault it is: the server's, or this host's.
    #[must_use]
    pub fn cause(&self) -> FailureCause {
        match self {
            Self::Neglected(_) => FailureCause::Resource,
            Self::NoRoute(error) if FailureCause::of(error) == FailureCause::Route => {
                FailureCause::Route
            }
            Self::NoRoute(_) => FailureCause::Resource,
            Self::Connect(error) | Self::Broken(error) => FailureCause::of(error),
            Self::Http(error) => {
                let io = error.source().and_then(|source| source.downcast_ref());
                io.map_or(FailureCause::Peer, FailureCause::of)
            }
            Self::Timeout(_) | Self::Unreached(..) | Self::Status { .. } | Self::Request(_) => {
                FailureCause::Peer
            }
        }
    }
}
