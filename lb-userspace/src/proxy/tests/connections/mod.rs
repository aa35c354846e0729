//! A client's connection as a whole: announced, relayed, upgraded, slow, drained.

mod draining;
mod extended_connect;
mod half_closed;
mod postgres;
mod proxy_protocol_in;
mod proxy_protocol_out;
mod relaying;
mod slow;
mod upgrades;
