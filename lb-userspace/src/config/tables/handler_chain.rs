//! The handlers of a port, as they are written.

use crate::config::text::diagnostic::Span;
use crate::service::Handler;

#[derive(Default)]
pub(crate) struct Chain {
    /// In the order in which they act on a connection.
    pub handlers: Vec<Handler>,
    /// Where the word `redirect` is written, if it is.
    pub redirect: Option<Span>,
}
