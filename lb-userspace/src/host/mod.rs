//! Prepares the host's network: routes, forwarding, neighbours; and undoes its changes. Imports the
//! values that modules share.

mod addresses;
mod batch;
mod error;
mod forwarding;
mod interfaces;
mod namespace_lock;
mod neighbours;
mod netlink;
mod network;
mod reader;
mod routes;
mod source_ports;
mod source_route;
mod undo_journal;
mod watch;

pub use self::{
    addresses::{LocalAddress, LocalAddresses},
    batch::next_batch,
    error::HostError,
    interfaces::{Interface, InterfaceStack, Vlan, around, passes, stacks},
    neighbours::next_hops::Unreachable,
    netlink::PROTOCOL,
    network::{Host, UndoneChanges},
    reader::HostReader,
    source_ports::check_source_ports,
    source_route::SourceRoute,
    watch::{Changes, HostWatch},
};
