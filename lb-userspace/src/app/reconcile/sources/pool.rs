//! The places in the kernel's table of addresses that are used in turn.

use std::net::IpAddr;

/// Entries of SOURCE_POOL (lb-ebpf/src/declared.rs).
const ROOM: usize = 4096;
/// Addresses towards one server.
pub(crate) const MOST: usize = 64;

/// The contents of SOURCE_POOL. An entry never moves: packets may look there at any time.
#[derive(Default)]
pub(crate) struct SourcePool(Vec<IpAddr>);

impl SourcePool {
    /// Returns where these addresses are, one after the other. `None`: after many changes there is
    /// no room.
    pub(crate) fn place(&mut self, several: &[IpAddr]) -> Option<u32> {
        let found = self.0.windows(several.len()).position(|window| window == several);
        if let Some(first) = found {
            return Some(first as u32);
        }
        if self.0.len() + several.len() > ROOM {
            return None;
        }
        self.0.extend(several);
        Some((self.0.len() - several.len()) as u32)
    }

    pub(crate) fn addresses(&self) -> &[IpAddr] {
        &self.0
    }
}
