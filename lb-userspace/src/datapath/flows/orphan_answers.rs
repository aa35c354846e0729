//! Removes orphan words of ANSWERS, which no flow refers to: each blocks a source port.
//!
//! The kernel program inserts an answer before its flow is open, and moves it before the flow has
//! moved. So a word without a flow proves nothing the first time; one that is still there a sweep
//! or more later was left behind.

use std::{collections::HashMap, sync::atomic::Ordering};

use tracing::debug;

use super::flow_table::{FlowTable, exchange};

/// Words to check in one sweep: each costs a read of a slot and of an entry, anywhere in memory. If
/// there are more, a sweep checks one share of them.
const ALL_AT_ONCE: usize = 1 << 16;
const SHARES: usize = 64;

#[derive(Default)]
pub(crate) struct OrphanAnswers {
    /// Index and word of those that had no flow when they were last checked.
    suspects: HashMap<usize, u64>,
    round: usize,
}

impl OrphanAnswers {
    /// Removes the words that had no flow twice. Returns their number.
    pub(crate) fn sweep(&mut self, flows: &FlowTable) -> u64 {
        let words = flows.answers.len();
        // Both numbers are powers of two.
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

    /// Drops the suspects of the share that have changed.
    fn forget(&mut self, first: usize, share: usize, flows: &FlowTable) {
        let of_share = |index: usize| index >= first && index < first + share;
        self.suspects.retain(|&index, word| {
            !of_share(index)
                || flows.answers[index].load(Ordering::Acquire) == *word
                    && !flows.has_flow(index, *word)
        });
    }
}
