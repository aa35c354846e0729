//! Flags that select flows, and flags that find the daemon.

use std::{path::PathBuf, process::ExitCode};

use crate::admin::{Endpoint, FlowState, Network, Selector, Transport};

use super::status;

#[derive(Debug, clap::Args)]
pub(super) struct Selection {
    /// Only clients with this address, or in this network.
    #[arg(long, value_name = "IP[/N]")]
    client: Option<Network>,
    /// Only flows to this announced address.
    #[arg(long, value_name = "IP[:PORT]")]
    vip: Option<Endpoint>,
    /// Only flows to this backend.
    #[arg(long, value_name = "IP[:PORT]")]
    backend: Option<Endpoint>,
    /// Only flows of this service.
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Only this protocol: tcp, udp or icmp.
    #[arg(long, value_name = "PROTOCOL")]
    proto: Option<Transport>,
    /// Only flows in this state: half-open, established or closed.
    #[arg(long, value_name = "STATE")]
    state: Option<FlowState>,
}

impl Selection {
    pub(super) fn selector(self) -> Selector {
        let Self { client, vip, backend, service, proto: protocol, state } = self;
        Selector { client, vip, backend, service, protocol, state }
    }
}

/// Where the daemon listens.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct SocketFlags {
    /// Configuration of the daemon, to find its socket.
    #[arg(long, value_name = "FILE", conflicts_with = "socket")]
    config: Option<PathBuf>,
    /// Socket of the daemon. Default: /run/lb/admin.sock
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

impl SocketFlags {
    /// Returns the path of the socket. An error has been printed already.
    pub(super) fn path(self) -> Result<PathBuf, ExitCode> {
        status::socket(self.socket, self.config.as_deref())
    }
}
