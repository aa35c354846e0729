//! One packet's way through the kernel program, in the operator's terms.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::selector::{Selector, Transport};

/// The JSON of `POST /v1/explain`: a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PacketQuery {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub protocol: Transport,
    /// As they stand in a TCP header.
    pub flags: u8,
    /// Bytes of the IP packet; 0: its headers alone.
    pub size: usize,
    /// That it comes in by. `None`: the first that packets are taken from.
    pub interface: Option<String>,
}

/// Its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    #[serde(flatten)]
    pub decision: DecisionStatus,
    pub leaves: Option<OutgoingPacket>,
    /// What `reason` means, and what can be done.
    pub meaning: Option<String>,
    pub advice: Option<String>,
    /// What is wrong with the backend, whatever becomes of this packet.
    #[serde(default)]
    pub warning: Option<String>,
}

/// A packet as it leaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutgoingPacket {
    /// Ports are 0 where the outermost packet has none, as in tunnels.
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub interface: String,
    /// 802.1Q VLAN id.
    pub vlan: Option<u16>,
    /// The next hop's link-layer address.
    pub next_hop: String,
}

/// What was decided about a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionStatus {
    /// ns since boot.
    pub at_ns: u64,
    pub protocol: Option<Transport>,
    /// Of a frame without readable addresses, such as ARP's: none, and `ethertype` says what it is.
    pub from: Option<SocketAddr>,
    pub to: Option<SocketAddr>,
    /// 0: the frame is too short for one.
    pub ethertype: u16,
    /// TCP's flags where they were read: those of plain packets of established flows are not.
    pub flags: Option<u8>,
    /// Of the frame, in bytes.
    pub length: u64,
    pub interface: String,
    pub service: Option<String>,
    /// Those that share the port with it by host names: whose a connection is, the proxy sees.
    pub sharing: Vec<String>,
    pub flow: FlowKnown,
    /// With a new flow, the slot of the service's ring that says where it goes, and the ring's
    /// length. None: loads were compared.
    pub ring_slot: Option<[u32; 2]>,
    /// With a new flow, how many regions nearer than its backend's had no room.
    pub regions_full: u32,
    pub backend: Option<SocketAddr>,
    /// `nat`: what the backend takes for its client.
    pub source: Option<SocketAddr>,
    /// How packets reach the backend.
    pub mode: Option<String>,
    /// The packet closes its flow, from one side or both.
    pub closing: bool,
    /// Its flow was closed, goes on with it, and counts again.
    #[serde(default)]
    pub revived: bool,
    /// To make room, another flow is evicted.
    pub evicts: bool,
    /// `pass`, `proxy`, `steer`, `reply`, `answer` or `drop`.
    pub verdict: String,
    /// Why it is dropped or answered, as in `lb status`.
    pub reason: Option<String>,
}

/// What the flow table had for a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FlowKnown {
    None,
    /// It opens one.
    New,
    HalfOpen,
    /// It completes the handshake of one.
    Promoted,
    Established,
}

/// The JSON of `POST /v1/trace`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceQuery {
    #[serde(flatten)]
    pub selector: Selector,
    /// One packet in so many. 0 and 1: all.
    #[serde(default)]
    pub sample: u32,
}

/// A line of its answer, which goes on until the asker leaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TraceLine {
    Decision(Box<DecisionStatus>),
    /// How many were lost until now, for want of room in the queue. Once a second.
    Lost(u64),
}
