//! The configuration of a service.

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use ipnet::IpNet;

use super::{
    limits::{Concurrency, Queue, ServiceLimits},
    pool::Pool,
    port::{Path, Port},
    steering::Steering,
};
use crate::interface::InterfacePattern;

/// What clients reach: addresses × ports × protocol, and hostnames on shared addresses.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// Unique in the configuration.
    pub name: Arc<str>,
    pub protocol: Protocol,
    /// Anycast addresses. Never empty, no duplicates.
    pub addresses: Vec<IpAddr>,
    /// Empty: every name. Lower case; `*.example.com` stands for one label or more.
    pub hostnames: Vec<Arc<str>>,
    /// Never empty; ports do not overlap.
    pub ports: Vec<Port>,
    /// For the ports without handlers.
    pub steering: Steering,
    /// Who may reach it. `None`: everybody.
    pub private: Option<Private>,
    pub concurrency: Concurrency,
    /// For the ports with handlers. `None`: unlimited.
    pub limits: Option<ServiceLimits>,
    pub queue: Queue,
    pub pool: Pool,
}

impl Service {
    /// Returns whether some port is steered by the kernel.
    #[must_use]
    pub fn is_steered(&self) -> bool {
        self.ports.iter().any(|port| port.path() == Path::Steer)
    }

    /// Returns how long proxied connections go on once their service or server was removed.
    #[must_use]
    pub fn proxied_drain_deadline(&self) -> Duration {
        const USUAL: Duration = Duration::from_secs(3600);
        self.steering.drain_deadline.unwrap_or(USUAL)
    }
}

/// Who may reach a private service: connections by one of the interfaces, from one of the networks.
/// An empty list sets no condition; at least one list is not empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Private {
    pub interfaces: Vec<InterfacePattern>,
    pub networks: Vec<IpNet>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    /// Returns the IP protocol number (RFC 9293, RFC 768).
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}
