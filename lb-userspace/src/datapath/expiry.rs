//! When a flow has been silent for too long: pure, `now` is a parameter.

use lb_common::abi::flow_state;

use super::clock::nanos;
use crate::{service::Protocol, settings::FlowTimeouts};

/// [`FlowTimeouts`] in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    half_open: u64,
    established: u64,
    closed: u64,
    udp: u64,
}

impl From<FlowTimeouts> for Timeouts {
    fn from(timeouts: FlowTimeouts) -> Self {
        Self {
            half_open: nanos(timeouts.half_open),
            established: nanos(timeouts.established),
            closed: nanos(timeouts.closed),
            udp: nanos(timeouts.udp),
        }
    }
}

impl Timeouts {
    /// How long a flow in this state may be silent.
    fn of(&self, protocol: u32, state: u32) -> u64 {
        if protocol == u32::from(Protocol::Udp.number()) {
            self.udp
        } else if is_closed(state) {
            self.closed
        } else if state & flow_state::CONFIRMED == 0 {
            self.half_open
        } else {
            self.established
        }
    }

    /// Whether a flow whose last packet, of either direction, came at `last` is over.
    ///
    /// That time may lie after `now`, which was read earlier.
    #[must_use]
    pub fn is_over(&self, now: u64, protocol: u32, state: u32, last: u64) -> bool {
        now.saturating_sub(last) > self.of(protocol, state)
    }
}

/// A closed flow no longer counts in LOAD; whoever closed it has taken it out.
#[must_use]
pub fn is_closed(state: u32) -> bool {
    state & flow_state::CLOSED == flow_state::CLOSED
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const TCP: u32 = 6;
    const UDP: u32 = 17;

    fn timeouts() -> Timeouts {
        FlowTimeouts {
            half_open: Duration::from_secs(30),
            established: Duration::from_secs(3600),
            closed: Duration::from_secs(10),
            udp: Duration::from_secs(60),
        }
        .into()
    }

    #[test]
    fn each_state_has_its_own_timeout() {
        let half_closed = flow_state::CONFIRMED | flow_state::CLIENT_FIN;
        for (protocol, state, seconds) in [
            (TCP, 0, 30),
            (TCP, flow_state::CONFIRMED, 3600),
            (TCP, half_closed, 3600),
            (TCP, flow_state::CLOSED, 10),
            (TCP, flow_state::CLOSED | flow_state::CONFIRMED, 10),
            (UDP, 0, 60),
            (UDP, flow_state::CONFIRMED, 60),
        ] {
            let state = state | flow_state::OPEN | flow_state::COUNTED;
            let last = 5 * SECOND;
            let limit = last + seconds * SECOND;
            assert!(!timeouts().is_over(limit, protocol, state, last), "{state:#b}");
            assert!(timeouts().is_over(limit + 1, protocol, state, last), "{state:#b}");
        }
    }

    #[test]
    fn a_packet_after_now_is_no_silence() {
        assert!(!timeouts().is_over(SECOND, UDP, 0, 2 * SECOND));
        assert!(!timeouts().is_over(SECOND, UDP, 0, u64::MAX));
    }
}
