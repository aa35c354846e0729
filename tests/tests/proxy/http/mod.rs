//! Requests and responses on their way through.

mod grpc;
mod headers;
mod malformed;
mod streams;
mod versions;
mod websocket;
