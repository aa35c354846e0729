//! Flags that say which flows are meant, and where the daemon is.

use std::{path::PathBuf, process::ExitCode};

use crate::admin::{Endpoint, FlowState, Network, Selector, Transport};

use super::status;

#[derive(Debug, clap::Args)]
pub(super) struct Selection {
    /// Of clients with this address, or in this network.
    #[arg(long, value_name = "IP[/N]")]
    client: Option<Network>,
    /// To this announced address.
    #[arg(long, value_name = "IP[:PORT]")]
    vip: Option<Endpoint>,
    /// To this backend.
    #[arg(long, value_name = "IP[:PORT]")]
    backend: Option<Endpoint>,
    /// Of this service.
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// tcp, udp or icmp.
    #[arg(long, value_name = "PROTOCOL")]
    proto: Option<Transport>,
    /// half-open, established or closed.
    #[arg(long, value_name = "STATE")]
    state: Option<FlowState>,
}

impl Selection {
    pub(super) fn selector(self) -> Selector {
        let Self { client, vip, backend, service, proto: protocol, state } = self;
        Selector { client, vip, backend, service, protocol, state }
    }
}

/// Where the daemon is asked.
#[derive(Debug, clap::Args)]
pub(super) struct SocketFlags {
    /// The daemon's configuration, which says where its socket is.
    #[arg(long, value_name = "FILE", conflicts_with = "socket")]
    config: Option<PathBuf>,
    /// The daemon's socket. Default: /run/lb/admin.sock
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

impl SocketFlags {
    /// The error has been explained.
    pub(super) fn path(self) -> Result<PathBuf, ExitCode> {
        status::socket(self.socket, self.config.as_deref())
    }
}
