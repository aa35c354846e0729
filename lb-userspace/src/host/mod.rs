//! What the host's own network must have: routes, forwarding, neighbours; and undoing it.

mod answering;
mod confirming;
mod error;
mod forwarding;
mod interfaces;
mod journal;
mod local;
mod neighbour;
mod neighbours;
mod netlink;
mod network;
mod ports;
mod routes;
mod source;
mod surroundings;
mod territory;
mod turn;
mod watch;

pub use self::{
    error::HostError,
    interfaces::{Interface, Stack, Vlan, around, passes, stacks},
    local::{LocalAddress, LocalAddresses},
    neighbours::Unreachable,
    netlink::PROTOCOL,
    network::{Host, UndoneChanges},
    ports::check_source_ports,
    source::Way,
    surroundings::Surroundings,
    turn::turn,
    watch::{Changes, HostWatch},
};
