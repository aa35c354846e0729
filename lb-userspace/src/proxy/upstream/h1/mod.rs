//! HTTP/1.1 connections to backends.

pub(crate) mod connection;
pub(crate) mod pool;
