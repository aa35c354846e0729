//! The rules of HTTP messages: header sections, framing, targets, and what is answered to a fault.
//! Imports `net`.

pub(crate) mod fault;
pub(crate) mod field_count;
pub(crate) mod fields;
pub(crate) mod fly_replay;
pub(crate) mod framing;
pub(crate) mod h2_frames;
pub(crate) mod headers;
pub(crate) mod host;
pub(crate) mod preface;
pub(crate) mod redirect;
pub(crate) mod request_scanner;
pub(crate) mod response_headers;
pub(crate) mod routing_hints;
pub(crate) mod scheme;
