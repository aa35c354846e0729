//! What a drop reason means, and what to do about it: `lb explain` and `lb trace` say it.

/// Returns the meaning of a reason and the remedy. `None`: the reason is not known.
pub(crate) fn on(reason: &str) -> Option<(&'static str, &'static str)> {
    let found = REASONS.iter().find(|(name, ..)| *name == reason);
    found.map(|&(_, meaning, advice)| (meaning, advice))
}

/// By [`lb_common::verdict::Reason::name`].
const REASONS: &[(&str, &str, &str)] = &[
    (
        "undeclared_port",
        "no service declares this port of an announced address",
        "declare it in a service's `ports`, or do nothing: undeclared ports are denied",
    ),
    (
        "unknown_flow",
        "it is not a SYN, and belongs to no known flow",
        "if clients see connections break, look for evictions in `lb status` (raise `max_flows`) \
         and for `flow_timeouts` shorter than their idle times",
    ),
    (
        "unknown_flow_reset",
        "it is not a SYN, and belongs to no known flow: a RST tells its sender",
        "as with `unknown_flow`; with `[node] unknown_flows = \"drop\"` nobody is told",
    ),
    (
        "no_backend",
        "the service has no backend that takes a new flow",
        "`lb status` shows which backends are down or drain: repair them, or add servers",
    ),
    (
        "backend_gone",
        "the flow's backend is down, or was drained past its deadline",
        "nothing: the client has to connect again, and gets another backend",
    ),
    (
        "backends_full",
        "every backend of the service is at its hard limit",
        "add servers or raise `hard_limit`",
    ),
    (
        "ports_exhausted",
        "every source port towards every backend of the service is used by an open flow",
        "give the host more `source_addresses`, widen `source_ports`, add servers, or use a \
         forwarding mode without source ports (`l2`, `ipip`, `gue`)",
    ),
    ("flow_table_full", "there is no room for a new flow", "raise `max_flows`"),
    (
        "raced_flow",
        "two CPUs changed the same place of the flow table",
        "nothing: the sender repeats the packet",
    ),
    (
        "too_big",
        "it is larger than the MTU of the path to the backend or client",
        "raise the MTU of that path, or set the service's `mtu` and `mss_clamp` so that clients \
         send smaller packets",
    ),
    (
        "merged",
        "receive offload has merged it from several packets",
        "turn it off where XDP runs in generic mode: `ethtool -K IF gro off lro off`",
    ),
    (
        "ttl_exceeded",
        "its TTL or hop limit is used up",
        "look for a routing loop between the routers and this host; traceroute does it on purpose",
    ),
    (
        "no_route",
        "the host has no route to the backend or client, or does not forward",
        "`ip route get` to the backend (with `l2` not `via` a router), and `sysctl \
         net.ipv4.conf.all.forwarding` (for IPv6 `net.ipv6.conf.all.forwarding`), in the daemon's \
         network namespace",
    ),
    (
        "no_neighbour",
        "the next hop's link-layer address is not known",
        "`ip neigh` shows it: the backend or router does not answer ARP or neighbour discovery",
    ),
    (
        "icmp_unsupported",
        "the ICMP message is neither an echo request nor an error",
        "nothing: announced addresses answer nothing else",
    ),
    (
        "icmp_unknown_flow",
        "the ICMP error quotes no known flow",
        "nothing, if there are few of them",
    ),
    (
        "not_answered",
        "a host on the link asks for an announced address by ARP or neighbour discovery",
        "nothing: `answer_neighbours = \"never\"` in [node] says so",
    ),
    (
        "denied",
        "the service's lists do not let this source in",
        "add its prefix to `allow`, or take it out of `deny`",
    ),
    (
        "source_rate",
        "its source opens more flows than the service allows one source",
        "raise `rate_limit.per_source` if it is a good client",
    ),
    (
        "service_rate",
        "more flows are opened than the service allows",
        "raise `rate_limit.per_service`",
    ),
    (
        "challenged",
        "the service sees too many new flows from unknown sources, and this source is challenged",
        "nothing: an honest client passes by itself; `syn_flood` sets when this begins",
    ),
    (
        "challenge_passed",
        "its source has passed a SYN challenge, and is remembered",
        "nothing: the client connects again at once",
    ),
    (
        "challenge_failed",
        "it answers a SYN challenge wrongly",
        "nothing: the answer is late, or forged",
    ),
    ("truncated", "the frame ends before the headers that it announces", SENDER),
    ("bad_ip_header", "IP version and lengths contradict each other, or the frame", SENDER),
    ("bad_transport_header", "the transport header contradicts the packet's length", SENDER),
    ("bad_tcp_flags", "no TCP sends these flags together", SENDER),
    ("source_route", "it asks to be routed by its sender", SENDER),
    ("ip_options", "it carries IPv4 options", SENDER),
    ("extension_header", "an IPv6 extension header is not supported", SENDER),
    ("unsupported_protocol", "it is neither TCP, UDP nor ICMP", SENDER),
    ("fragment", "it is a fragment, and only the first one carries ports", FRAGMENTS),
    ("fragment_early", "it is a fragment that came without or before the first one", FRAGMENTS),
    ("fragment_tiny", "it is a fragment smaller than honest senders make", SENDER),
    ("fragment_overlap", "it is a fragment that overlaps the first one", SENDER),
    ("nested_vlan", "it has more VLAN tags than are supported", "remove tags on the switch"),
    (
        "no_headroom",
        "the driver left no room in front of the packet for headers",
        "`xdp = \"generic\"` for this interface, or another driver",
    ),
    (
        "inconsistent",
        "a table entry refers to another that does not exist",
        "this is a fault of lb: please report it, with `lb status --json`",
    ),
];

const SENDER: &str = "look at who sends it: `tcpdump` on the interface shows the packet";
const FRAGMENTS: &str = "avoid fragments: `mss_clamp` for TCP, smaller datagrams for UDP";

#[cfg(test)]
mod tests {
    use lb_common::verdict::Reason;

    #[test]
    fn every_reason_is_explained() {
        let missing = Reason::ALL.iter().filter(|reason| super::on(reason.name()).is_none());
        let missing: Vec<_> = missing.map(|reason| reason.name()).collect();
        assert!(missing.is_empty(), "say above what can be done about {missing:?}");
    }
}
