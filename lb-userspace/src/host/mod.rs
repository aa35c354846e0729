//! Prepares the host's network: routes, forwarding, neighbours; and undoes its changes. Imports the
//! values that modules share.

mod error;
mod namespace;
mod neighbours;
mod netlink;
mod source_ports;

pub use self::{
    error::HostError,
    namespace::{
        host::{Host, HostLocks, UndoneChanges},
        reader::HostReader,
    },
    neighbours::{batch::next_batch, next_hops::Unreachable},
    netlink::{
        addresses::{LocalAddress, LocalAddresses},
        connection::PROTOCOL,
        interfaces::{Interface, InterfaceStack, Vlan, around, passes, stacks},
        source_route::SourceRoute,
        watch::{Changes, HostWatch},
    },
    source_ports::check_source_ports,
};
