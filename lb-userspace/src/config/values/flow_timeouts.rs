//! `flow_timeouts`: of the node, and of services with their own.

use std::time::Duration;

use crate::service::FlowTimeouts;

use crate::config::text::{reader::Value, scalar::duration};

/// What was written.
#[derive(Clone, Copy, Default)]
pub(crate) struct TimeoutsDraft {
    half_open: Option<Duration>,
    established: Option<Duration>,
    closing: Option<Duration>,
    closed: Option<Duration>,
    reset: Option<Duration>,
    udp_unanswered: Option<Duration>,
    udp_answered: Option<Duration>,
    udp: Option<Duration>,
}

pub(crate) fn flow_timeouts(value: Value<'_>) -> Option<TimeoutsDraft> {
    value.section(|timeouts| {
        Some(TimeoutsDraft {
            half_open: timeouts.optional("half_open", duration),
            established: timeouts.optional("established", duration),
            closing: timeouts.optional("closing", duration),
            closed: timeouts.optional("closed", duration),
            reset: timeouts.optional("reset", duration),
            udp_unanswered: timeouts.optional("udp_unanswered", duration),
            udp_answered: timeouts.optional("udp_answered", duration),
            udp: timeouts.optional("udp", duration),
        })
    })
}

impl TimeoutsDraft {
    /// Fills in `default` for what was not written.
    pub(crate) fn or(self, default: FlowTimeouts) -> FlowTimeouts {
        FlowTimeouts {
            half_open: self.half_open.unwrap_or(default.half_open),
            established: self.established.unwrap_or(default.established),
            closing: self.closing.unwrap_or(default.closing),
            closed: self.closed.unwrap_or(default.closed),
            reset: self.reset.unwrap_or(default.reset),
            udp_unanswered: self.udp_unanswered.unwrap_or(default.udp_unanswered),
            udp_answered: self.udp_answered.unwrap_or(default.udp_answered),
            udp: self.udp.unwrap_or(default.udp),
        }
    }
}
