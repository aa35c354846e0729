//! How a backend is chosen.

use super::names::name_of;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// By a hash of the flow, with few moves when backends come and go.
    Maglev,
    /// Power of two choices by the shared connection counts.
    P2c,
    /// Power of two choices by latency and connection counts. Only in the proxy.
    PeakEwma,
    /// The fewest live connections per weight.
    LeastConn,
    /// Smooth weighted round robin.
    Wrr,
    /// At random, by weight.
    Random,
}

impl Strategy {
    /// All strategies with their names in the configuration.
    pub const NAMED: [(&str, Self); 6] = [
        ("maglev", Self::Maglev),
        ("p2c", Self::P2c),
        ("peak_ewma", Self::PeakEwma),
        ("least_conn", Self::LeastConn),
        ("wrr", Self::Wrr),
        ("random", Self::Random),
    ];

    /// Traefik's names of some strategies.
    pub const ALSO_NAMED: [(&str, Self); 2] =
        [("hrw", Self::Maglev), ("leasttime", Self::PeakEwma)];

    /// Returns its name in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        name_of(self, &Self::NAMED)
    }
}
