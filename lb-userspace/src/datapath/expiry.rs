//! When a flow has been silent for too long: pure, `now` is a parameter.

use lb_common::abi::{Flow, FlowKey, flow_state};

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
        } else if state & flow_state::ANSWERED == 0 {
            self.half_open
        } else {
            self.established
        }
    }

    /// Whether the flow of this forward entry is over. `answered` is the `seen` of its reverse
    /// entry, 0 where there is none. A flow is as idle as its livelier direction.
    ///
    /// The entry's time may lie after `now`, which was read earlier.
    #[must_use]
    pub fn is_over(&self, now: u64, protocol: u32, forward: &Flow, answered: u64) -> bool {
        let idle = now.saturating_sub(forward.seen.max(answered));
        idle > self.of(protocol, forward.state)
    }
}

/// A closed flow no longer counts in LOAD; whoever closed it has taken it out.
#[must_use]
pub fn is_closed(state: u32) -> bool {
    state & flow_state::CLOSED == flow_state::CLOSED
}

/// Key of the other direction: the packet that answers what `flow` makes of its packets.
#[must_use]
pub fn peer_key(protocol: u32, flow: &Flow) -> FlowKey {
    FlowKey {
        src: flow.dst,
        dst: flow.src,
        src_port: flow.dst_port,
        dst_port: flow.src_port,
        protocol,
    }
}

#[cfg(test)]
mod tests {
    use lb_common::abi::Address;

    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const TCP: u32 = 6;
    const UDP: u32 = 17;

    fn timeouts() -> Timeouts {
        FlowTimeouts::default().into()
    }

    fn flow(seen: u64, state: u32) -> Flow {
        Flow { seen, state, ..Flow::default() }
    }

    #[test]
    fn each_state_has_its_own_timeout() {
        let half_closed = flow_state::ANSWERED | flow_state::CLIENT_FIN;
        for (protocol, state, seconds) in [
            (TCP, 0, 30),
            (TCP, flow_state::ANSWERED, 3600),
            (TCP, half_closed, 3600),
            (TCP, flow_state::CLOSED, 10),
            (TCP, flow_state::CLOSED | flow_state::ANSWERED, 10),
            (UDP, 0, 60),
            (UDP, flow_state::ANSWERED, 60),
        ] {
            let seen = 5 * SECOND;
            let flow = flow(seen, state);
            let limit = seen + seconds * SECOND;
            assert!(!timeouts().is_over(limit, protocol, &flow, 0), "{state:#b}");
            assert!(timeouts().is_over(limit + 1, protocol, &flow, 0), "{state:#b}");
        }
    }

    #[test]
    fn an_answer_keeps_a_silent_client_s_flow() {
        let flow = flow(0, 0);
        assert!(timeouts().is_over(61 * SECOND, UDP, &flow, 0));
        assert!(!timeouts().is_over(61 * SECOND, UDP, &flow, 2 * SECOND));
    }

    #[test]
    fn a_packet_after_now_is_no_silence() {
        assert!(!timeouts().is_over(SECOND, UDP, &flow(2 * SECOND, 0), 0));
        assert!(!timeouts().is_over(SECOND, UDP, &flow(0, 0), u64::MAX));
    }

    #[test]
    fn the_peer_of_the_peer_is_the_flow_itself() {
        let client = (Address::v4([192, 0, 2, 1]), [0x9c, 0x40]);
        let vip = (Address::v4([203, 0, 113, 1]), [0, 53]);
        let ours = (Address::v4([10, 0, 0, 1]), [0x10, 0]);
        let server = (Address::v4([10, 0, 0, 2]), [0x14, 0xe9]);
        let becomes = |(src, src_port), (dst, dst_port)| Flow {
            src,
            dst,
            src_port,
            dst_port,
            ..Flow::default()
        };
        let reverse = peer_key(UDP, &becomes(ours, server));
        assert_eq!((reverse.src, reverse.src_port), server);
        assert_eq!((reverse.dst, reverse.dst_port), ours);
        let forward = peer_key(UDP, &becomes(vip, client));
        assert_eq!((forward.src, forward.src_port), client);
        assert_eq!((forward.dst, forward.dst_port), vip);
    }
}
