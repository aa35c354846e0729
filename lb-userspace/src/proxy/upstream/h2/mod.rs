//! HTTP/2 connections to backends without TLS (RFC 9113 3.3). Many requests share one.

pub(crate) mod connection;
pub(crate) mod exchange;
pub(crate) mod pool;
pub(crate) mod uploads;
