//! Warns that a ring gets another length, which moves new flows to other servers.

use tracing::warn;

use crate::control::{RingResize, SLOTS_PER_MEMBER};

/// Services that are named one by one.
const NAMED: usize = 8;

pub(crate) fn warn_resized(resized: &RingResize) {
    let remedy = remedy(resized);
    for ring in resized.rings.iter().take(NAMED) {
        warn!(
            service = %ring.service, from = ring.from, to = ring.to,
            "the ring of this service gets another length: nearly every new flow goes to another \
             server than it would have until now (open ones stay){remedy}"
        );
    }
    if let Some(more) = resized.rings.len().checked_sub(NAMED + 1) {
        warn!(services = more + 1, "so do the rings of further services");
    }
}

fn remedy(resized: &RingResize) -> String {
    match (resized.keeps, resized.settles) {
        (Some(size), _) => format!(
            "; `maglev_table_size = {size}` in [node], on every node before these servers, keeps it"
        ),
        (None, Some(size)) => format!(
            "; `maglev_table_size = {size}` in [node], on every node before these servers, keeps \
             the new length up to {} servers",
            size / SLOTS_PER_MEMBER
        ),
        (None, None) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operator_is_told_what_would_keep_the_ring() {
        let resized = |keeps, settles| RingResize { rings: Vec::new(), keeps, settles };
        assert!(remedy(&resized(Some(8192), Some(32_768))).contains("maglev_table_size = 8192`"));
        let settled = remedy(&resized(None, Some(65_536)));
        assert!(settled.contains("maglev_table_size = 65536`"), "{settled}");
        assert!(settled.ends_with("up to 512 servers"), "{settled}");
        assert_eq!(remedy(&resized(None, None)), "");
    }
}
