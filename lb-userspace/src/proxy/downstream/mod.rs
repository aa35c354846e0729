//! The client's half of an exchange: its stream, its requests' bodies and its deadlines. Imports
//! `net` and `http`.

pub(crate) mod activity;
pub(crate) mod header_sections;
pub(crate) mod interim;
pub(crate) mod replay_buffer;
pub(crate) mod request_body;
pub(crate) mod request_deadline;
pub(crate) mod stream;
