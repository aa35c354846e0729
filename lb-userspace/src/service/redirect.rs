//! Where requests by http are sent to.

use std::num::NonZeroU16;

/// To https.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// 301, 302, 307 or 308. Default 301.
    pub status: u16,
    /// Where https is. `None`: where the service has it, or 443.
    pub port: Option<NonZeroU16>,
}

impl Default for Redirect {
    fn default() -> Self {
        Self { status: 301, port: None }
    }
}
