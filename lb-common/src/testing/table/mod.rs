//! The table: a frame, what came before it, and what must become of it. It runs on the host
//! against `balance` over a [`Model`](super::Model) and, through `BPF_PROG_TEST_RUN`, against the
//! loaded object over maps of the same content.

mod attack;
mod double_tags;
mod fragments;
mod icmp;
mod limits;
mod malformed;
mod modes;
mod odd;
mod passing;
mod quic;
mod ranges;
mod row;
mod steering;
mod sums;

use self::row::Ends;
pub use self::row::Row;

#[must_use]
pub fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for ends in [Ends::new(0), Ends::new(1)] {
        steering::add(&mut rows, &ends);
        limits::add(&mut rows, &ends);
        passing::add(&mut rows, &ends);
        icmp::add(&mut rows, &ends);
        malformed::add(&mut rows, &ends);
        attack::add(&mut rows, &ends);
        fragments::add(&mut rows, &ends);
        odd::add(&mut rows, &ends);
        double_tags::add(&mut rows, &ends);
        ranges::add(&mut rows, &ends);
        quic::add(&mut rows, &ends);
        sums::add(&mut rows, &ends);
        modes::add(&mut rows, &ends);
        steering::add_unknown(&mut rows, &ends);
    }
    passing::add_not_ip(&mut rows);
    malformed::add_v4(&mut rows, &Ends::new(0));
    malformed::add_v6(&mut rows, &Ends::new(1));
    rows
}
