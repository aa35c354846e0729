//! Words of ANSWERS that no flow stands behind: each keeps a source port for nothing.
//!
//! The kernel program enters an answer before its flow is open, and moves it before the flow has
//! moved. So a word that leads nowhere proves nothing the first time; one that does so again, a
//! sweep or more later, was left behind.

use std::{collections::HashMap, sync::atomic::Ordering};

use tracing::debug;

use super::flow_table::{FlowTable, exchange};

/// Each word costs a look at a slot and at an entry, somewhere in memory. Where there are more
/// than this, a sweep looks at one share of them only.
const ALL_AT_ONCE: usize = 1 << 16;
const SHARES: usize = 64;

#[derive(Default)]
pub(crate) struct OrphanAnswers {
    /// Index and word of what led nowhere when it was last looked at.
    suspects: HashMap<usize, u64>,
    round: usize,
}

impl OrphanAnswers {
    /// Takes out what led nowhere twice; answers how many those were.
    pub(crate) fn sweep(&mut self, flows: &FlowTable) -> u64 {
        let words = flows.answers.len();
        // Both are powers of two.
        let share = if words <= ALL_AT_ONCE { words } else { words / SHARES };
        let first = self.round % (words / share) * share;
        self.round = self.round.wrapping_add(1);
        let mut removed = 0;
        for index in first..first + share {
            let word = flows.answers[index].load(Ordering::Acquire);
            if word == 0 || flows.has_flow(index, word) {
                continue;
            }
            if self.suspects.get(&index) != Some(&word) {
                self.suspects.insert(index, word);
            } else if exchange(&flows.answers[index], word, 0) {
                removed += 1;
                debug!(index, word, "removed an answer without a flow");
            }
        }
        self.forget(first, share, flows);
        removed
    }

    /// Those of the share that are no longer what they were.
    fn forget(&mut self, first: usize, share: usize, flows: &FlowTable) {
        let of_share = |index: usize| index >= first && index < first + share;
        self.suspects.retain(|&index, word| {
            !of_share(index)
                || flows.answers[index].load(Ordering::Acquire) == *word
                    && !flows.has_flow(index, *word)
        });
    }
}
