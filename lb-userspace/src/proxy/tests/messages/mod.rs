//! Requests and responses on their way through.

mod framing_towards_clients;
mod http1;
mod http2;
mod interim;
mod limits;
mod refusals;
mod request_headers;
mod response_headers;
mod responses_of_servers;
mod trailers;
mod translations;
