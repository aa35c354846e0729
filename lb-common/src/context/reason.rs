//! Why a packet was dropped.

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Why a frame to an address of ours, or of a flow of ours, was dropped.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum Reason { $($(#[$doc])* $name,)* }

        impl Reason {
            /// Every reason, in the order of its number.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The name that `lb status` and the metrics show.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

reasons! {
    /// The frame ends before the headers it announces.
    Truncated = "truncated",
    /// IP version, header length or total length contradict each other or the frame.
    BadIpHeader = "bad_ip_header",
    /// IPv4 options that contradict each other or the header, or before an ICMP message.
    IpOptions = "ip_options",
    /// An IPv6 extension header that we do not look behind: IPsec, mobility, one out of place, more
    /// than 8 or more than 256 bytes of them; or any before an ICMP message.
    ExtensionHeader = "extension_header",
    /// A route of the sender's own choice: IPv4 source routing, an IPv6 routing header with
    /// segments left (RFC 5095, RFC 7126).
    SourceRoute = "source_route",
    /// A fragment of an ICMP message.
    Fragment = "fragment",
    /// A fragment whose packet's first one has not come, was dropped, or came too long ago.
    FragmentEarly = "fragment_early",
    /// A first fragment without the whole transport header, or one that begins within it (RFC 1858,
    /// RFC 3128).
    FragmentTiny = "fragment_tiny",
    /// A fragment that would overwrite the first one (RFC 1858, RFC 5722).
    FragmentOverlap = "fragment_overlap",
    /// More VLAN tags than two.
    NestedVlan = "nested_vlan",
    /// Neither TCP, UDP nor ICMP.
    UnsupportedProtocol = "unsupported_protocol",
    /// TCP data offset or UDP length contradict the packet's length.
    BadTransportHeader = "bad_transport_header",
    /// Flags that no TCP sends: none at all, SYN with FIN or RST.
    BadTcpFlags = "bad_tcp_flags",
    /// Default deny: no service declares this port of an announced address.
    UndeclaredPort = "undeclared_port",
    /// TCP without SYN that belongs to no known flow.
    UnknownFlow = "unknown_flow",
    /// The same, and its sender was told so by a RST.
    UnknownFlowReset = "unknown_flow_reset",
    /// The service's lists deny the source.
    Denied = "denied",
    /// More new flows from one source than its rate allows.
    SourceRate = "source_rate",
    /// More new flows than the service's rate allows.
    ServiceRate = "service_rate",
    /// A SYN of an unknown source while there are too many of them: answered by a challenge.
    Challenged = "challenged",
    /// The right answer to a challenge, which goes no further. The source is known from now on.
    ChallengePassed = "challenge_passed",
    /// A RST that is no right answer to a challenge.
    ChallengeFailed = "challenge_failed",
    /// The service has no backend to take a new flow.
    NoBackend = "no_backend",
    /// Every backend of the service is at its hard limit.
    BackendsFull = "backends_full",
    /// The flow's backend is down, or was drained past its deadline.
    BackendGone = "backend_gone",
    /// Every source port towards all backends that could take the flow is taken.
    PortsExhausted = "ports_exhausted",
    /// No room for a new flow.
    FlowTableFull = "flow_table_full",
    /// Two CPUs worked on one place of the flow table at once, most likely on one flow; the other
    /// one's packet went on.
    RacedFlow = "raced_flow",
    /// Larger than the way to the backend or client carries.
    TooBig = "too_big",
    /// The same, and larger than the interface takes that it came by: receive offload (GRO, LRO)
    /// has put it together, and must be off where XDP runs in generic mode.
    Merged = "merged",
    /// TTL or hop limit was used up on the way.
    TtlExceeded = "ttl_exceeded",
    /// The host has no route to the backend or client, or its forwarding is off; or a backend of
    /// `l2` is behind a router.
    NoRoute = "no_route",
    /// The next hop's link-layer address is not known yet.
    NoNeighbour = "no_neighbour",
    /// An ICMP message that is neither an echo request nor an error.
    IcmpUnsupported = "icmp_unsupported",
    /// An ICMP error that quotes no flow of ours.
    IcmpUnknownFlow = "icmp_unknown_flow",
    /// ARP or neighbour discovery asks for an announced address, and is not to be answered.
    NotAnswered = "not_answered",
    /// The driver left no room to put a VLAN tag back.
    NoHeadroom = "no_headroom",
    /// A map entry points at another that is not there: a fault of ours.
    Inconsistent = "inconsistent",
}
