//! Words of the counting maps.

/// Words of LOAD: how many connections are live in the lower half, how often that changed in the
/// upper. One atomic add does both, and who finds a word twice alike knows that nothing happened in
/// between.
pub mod live {
    /// One more.
    pub const IN: u64 = (1 << 32) + 1;
    /// One less.
    pub const OUT: u64 = (1 << 32) - 1;

    /// How many there are. What was counted out too often is below 0: very many.
    #[inline(always)]
    #[must_use]
    pub const fn count(word: u64) -> u64 {
        word & 0xffff_ffff
    }
}

/// Indices into COUNTERS: the verdicts, what happened to flows, then a slot per `Reason`.
pub mod counter {
    use crate::context::reason::Reason;

    pub const PASS: u32 = 0;
    pub const PROXY: u32 = 1;
    pub const STEER: u32 = 2;
    pub const REPLY: u32 = 3;
    /// Half-open flows that gave way to newer ones.
    pub const EVICTED_PENDING: u32 = 4;
    /// Established flows that did.
    pub const EVICTED: u32 = 5;
    /// Confirmed flows that stayed among the half-open ones for want of room.
    pub const CROWDED: u32 = 6;
    /// Closed flows that went on, and count again.
    pub const REVIVED: u32 = 7;
    /// Flows that went to another backend since a packet's QUIC connection id named that one.
    pub const REROUTED: u32 = 8;
    const DROPS: u32 = 16;
    pub const LENGTH: u32 = DROPS + Reason::ALL.len() as u32;

    #[inline(always)]
    #[must_use]
    pub const fn drop(reason: Reason) -> u32 {
        DROPS + reason as u32
    }
}
