//! How much is measured, and on which cores.

/// The proxies', one at a time.
pub(super) const PROXY_CORE: usize = 0;
/// Clients' and origin's.
pub(super) const OTHER_CORE: usize = 1;

/// How often each case is measured, and how much of it at a time.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    pub rounds: u32,
    pub seconds: u32,
}
