//! Decides when a flow has been idle for too long: pure, `now` is a parameter.

use lb_common::abi::flow_state;

use super::flow_table::FlowSummary;
use crate::datapath::bpf::clock::nanos;
use crate::{service::Protocol, settings::FlowTimeouts};

/// [`FlowTimeouts`] in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timeouts {
    half_open: u64,
    established: u64,
    closing: u64,
    closed: u64,
    reset: u64,
    udp_unanswered: u64,
    udp_answered: u64,
    udp: u64,
}

impl From<FlowTimeouts> for Timeouts {
    fn from(timeouts: FlowTimeouts) -> Self {
        Self {
            half_open: nanos(timeouts.half_open),
            established: nanos(timeouts.established),
            closing: nanos(timeouts.closing),
            closed: nanos(timeouts.closed),
            reset: nanos(timeouts.reset),
            udp_unanswered: nanos(timeouts.udp_unanswered),
            udp_answered: nanos(timeouts.udp_answered),
            udp: nanos(timeouts.udp),
        }
    }
}

impl Timeouts {
    /// Returns how long a flow in this state may be idle.
    fn of(&self, flow: &FlowSummary, state: u32) -> u64 {
        let is_confirmed = state & flow_state::CONFIRMED != 0;
        if flow.protocol == u32::from(Protocol::Udp.number()) {
            match (is_confirmed, flow.answered) {
                (true, _) => self.udp,
                (false, true) => self.udp_answered,
                (false, false) => self.udp_unanswered,
            }
        } else if is_closed(state) {
            if state & flow_state::RESET == 0 { self.closed } else { self.reset }
        } else if !is_confirmed {
            self.half_open
        } else if state & flow_state::CLOSED != 0 {
            self.closing
        } else {
            self.established
        }
    }

    /// Returns whether a flow has expired whose last packet, of either direction, came at
    /// [`FlowSummary::last`].
    ///
    /// That time may be later than `now`, which was read earlier.
    #[must_use]
    pub(crate) fn is_over(&self, now: u64, flow: &FlowSummary, state: u32) -> bool {
        now.saturating_sub(flow.last) > self.of(flow, state)
    }
}

/// Returns whether the flow is closed. A closed flow no longer counts in LOAD: whoever closed it
/// has subtracted it.
#[must_use]
pub(crate) fn is_closed(state: u32) -> bool {
    state & flow_state::CLOSED == flow_state::CLOSED
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const TCP: u32 = 6;
    const UDP: u32 = 17;

    fn glimpse(protocol: u32, answered: bool, last: u64) -> FlowSummary {
        FlowSummary { protocol, load: 0, service: 0, mode: 0, opened: 0, answered, last }
    }

    #[test]
    fn each_state_has_its_own_timeout() {
        let timeouts = Timeouts::from(FlowTimeouts::default());
        let half_closed = flow_state::CONFIRMED | flow_state::CLIENT_FIN;
        for (protocol, answered, state, seconds) in [
            (TCP, false, 0, 30),
            (TCP, true, 0, 30),
            (TCP, true, flow_state::CONFIRMED, 3600),
            (TCP, true, half_closed, 3600),
            (TCP, true, flow_state::CONFIRMED | flow_state::BACKEND_FIN, 3600),
            (TCP, true, flow_state::CLOSED, 10),
            (TCP, true, flow_state::CLOSED | flow_state::CONFIRMED, 10),
            (TCP, true, flow_state::CLOSED | flow_state::RESET, 60),
            (TCP, true, flow_state::CLOSED | flow_state::RESET | flow_state::CONFIRMED, 60),
            (UDP, false, 0, 30),
            (UDP, true, 0, 10),
            (UDP, true, flow_state::CONFIRMED, 60),
            (UDP, false, flow_state::CONFIRMED, 60),
        ] {
            let state = state | flow_state::OPEN | flow_state::COUNTED;
            let last = 5 * SECOND;
            let flow = glimpse(protocol, answered, last);
            let limit = last + seconds * SECOND;
            assert!(!timeouts.is_over(limit, &flow, state), "{state:#b}");
            assert!(timeouts.is_over(limit + 1, &flow, state), "{state:#b}");
        }
    }

    #[test]
    fn a_packet_after_now_is_no_silence() {
        let timeouts = Timeouts::from(FlowTimeouts::default());
        assert!(!timeouts.is_over(SECOND, &glimpse(UDP, false, 2 * SECOND), 0));
        assert!(!timeouts.is_over(SECOND, &glimpse(UDP, false, u64::MAX), 0));
    }
}
