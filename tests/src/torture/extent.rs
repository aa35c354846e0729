//! How much torture.

/// How long, how often, and by which dice.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// The traffic flows for so long, and longer if the reloads take longer.
    pub seconds: u64,
    /// Evenly over that time; each changes something.
    pub reloads: usize,
    pub seed: u64,
}
