//! The JSON of `lb explain` and `lb trace`: one packet's path through the kernel program.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::selector::{Selector, Transport};

/// The JSON of `POST /v1/explain`: a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PacketQuery {
    #[schema(value_type = String)]
    pub from: SocketAddr,
    #[schema(value_type = String)]
    pub to: SocketAddr,
    pub protocol: Transport,
    /// As in a TCP header.
    pub flags: u8,
    /// Bytes of the IP packet; 0: its headers alone.
    pub size: usize,
    /// Where it comes in. `None`: the first interface that packets are taken from.
    pub interface: Option<String>,
}

/// The answer to a [`PacketQuery`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    #[serde(flatten)]
    pub decision: DecisionStatus,
    pub leaves: Option<OutgoingPacket>,
    /// What `reason` means, and what can be done.
    pub meaning: Option<String>,
    pub advice: Option<String>,
    /// What is wrong with the backend, independent of this packet.
    #[serde(default)]
    pub warning: Option<String>,
}

/// A packet as it leaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OutgoingPacket {
    /// A port is 0 if the outermost packet has none, as in tunnels.
    #[schema(value_type = String)]
    pub from: SocketAddr,
    #[schema(value_type = String)]
    pub to: SocketAddr,
    pub interface: String,
    /// 802.1Q VLAN id.
    pub vlan: Option<u16>,
    /// The next hop's link-layer address.
    pub next_hop: String,
}

/// What was decided about a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DecisionStatus {
    /// ns since boot.
    pub at_ns: u64,
    pub protocol: Option<Transport>,
    /// `None` for a frame without readable addresses, such as ARP: `ethertype` then says what it
    /// is.
    #[schema(value_type = Option<String>)]
    pub from: Option<SocketAddr>,
    #[schema(value_type = Option<String>)]
    pub to: Option<SocketAddr>,
    /// 0: the frame is too short for one.
    pub ethertype: u16,
    /// TCP flags if they were parsed; those of plain packets of established flows are not.
    pub flags: Option<u8>,
    /// Of the frame, in bytes.
    pub length: u64,
    pub interface: String,
    pub service: Option<String>,
    /// Services that share the port by host name: the proxy decides which one a connection is for.
    pub sharing: Vec<String>,
    pub flow: FlowKnown,
    /// For a new flow, the slot of the service's ring that chose its backend, and the ring's
    /// length. `None`: loads were compared.
    pub ring_slot: Option<[u32; 2]>,
    /// For a new flow, how many regions nearer than its backend's had no room.
    pub regions_full: u32,
    #[schema(value_type = Option<String>)]
    pub backend: Option<SocketAddr>,
    /// `nat`: the client address that the backend sees.
    #[schema(value_type = Option<String>)]
    pub source: Option<SocketAddr>,
    /// How packets reach the backend.
    pub mode: Option<String>,
    /// The packet closes its flow, from one side or both.
    pub closing: bool,
    /// The flow was closed, continues with this packet, and counts again.
    #[serde(default)]
    pub revived: bool,
    /// Another flow is evicted to make room.
    pub evicts: bool,
    /// `pass`, `proxy`, `steer`, `reply`, `answer` or `drop`.
    pub verdict: String,
    /// Why it is dropped or answered, as in `lb status`.
    pub reason: Option<String>,
}

/// The flow table's entry for a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FlowKnown {
    None,
    /// The packet opens a flow.
    New,
    HalfOpen,
    /// The packet completes a handshake.
    Promoted,
    Established,
}

/// The JSON of `POST /v1/trace`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TraceQuery {
    #[serde(flatten)]
    pub selector: Selector,
    /// Report one packet in so many. 0 and 1: all.
    #[serde(default)]
    pub sample: u32,
}

/// A line of its answer, which ends when the client leaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TraceLine {
    Decision(Box<DecisionStatus>),
    /// How many were lost until now because the queue was full. Sent once a second.
    Lost(u64),
}
