//! Where addresses that take turns lie in the kernel's table.

use std::net::IpAddr;

/// Entries of SOURCE_POOL (lb-ebpf/src/declared.rs).
const ROOM: usize = 4096;
/// Addresses towards one server.
pub(crate) const MOST: usize = 64;

/// What SOURCE_POOL holds. What was placed once stays: packets may look there at any time.
#[derive(Default)]
pub(crate) struct SourcePool(Vec<IpAddr>);

impl SourcePool {
    /// Where these stand, one after the other. `None`: there is no more room, after many changes.
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
