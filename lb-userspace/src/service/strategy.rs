//! How a backend is chosen.

use super::names::name_of;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// By a hash of the flow, which moves as little as can be when backends come and go.
    Maglev,
    /// Power of two choices on the shared counts.
    P2c,
    /// The same by how long backends take to answer, beside the counts. The proxy's alone.
    PeakEwma,
    /// The fewest live connections for its weight.
    LeastConn,
    /// Smooth weighted round robin.
    Wrr,
    /// At random, by weight.
    Random,
}

impl Strategy {
    /// By what they are called in the configuration.
    pub const NAMED: [(&str, Self); 6] = [
        ("maglev", Self::Maglev),
        ("p2c", Self::P2c),
        ("peak_ewma", Self::PeakEwma),
        ("least_conn", Self::LeastConn),
        ("wrr", Self::Wrr),
        ("random", Self::Random),
    ];

    /// What Traefik calls some of them.
    pub const ALSO_NAMED: [(&str, Self); 2] =
        [("hrw", Self::Maglev), ("leasttime", Self::PeakEwma)];

    /// Its name there.
    #[must_use]
    pub fn name(self) -> &'static str {
        name_of(self, &Self::NAMED)
    }
}
