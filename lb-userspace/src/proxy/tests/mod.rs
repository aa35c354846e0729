//! The proxy as it runs, on loopback, between real clients and real backends. Every test ends with
//! `Lab::finish`, which demands that all load has gone back to zero.

mod announced;
mod announcing;
mod answered;
mod answers;
mod backend;
mod certificates;
mod client;
mod client_auth;
mod connect;
mod draining;
mod failing;
mod frames;
mod fuzz;
mod h2_backend;
mod h2_streams;
mod http1;
mod http2;
mod interim;
mod kept;
mod lab;
mod limits;
mod nameless;
mod postgres;
mod queue;
mod refusing;
mod relaying;
mod replay;
mod request_headers;
mod responses;
mod slow;
mod tls;
mod trailers;
mod translations;
mod turns;
mod upgrades;
