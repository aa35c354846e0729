//! `[node]` and `[admin]`: this host, and the socket for commands.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    num::NonZeroU16,
    ops::RangeInclusive,
    path::PathBuf,
    sync::Arc,
};

use ipnet::IpNet;

use crate::{
    service::{FlowTimeouts, Forwarding, UnknownFlows},
    settings::{
        Admin, AnswerNeighbours, DEFAULT_PIN_DIR, DEFAULT_STATE_DIR, Encap, InterfacePattern,
        MAGLEV_SIZES, Node, SourceAddresses, XdpMode,
    },
};

use super::source_addresses::{SourcesDraft, source_addresses};
use crate::config::{
    text::{
        reader::{At, List, Value},
        scalar::{absolute_path, port},
    },
    values::{
        flow_timeouts::{TimeoutsDraft, flow_timeouts},
        network::network,
        regions::{region, regions},
    },
};

const DEFAULT_SOURCE_PORTS: RangeInclusive<u16> = 2048..=32767;
const DEFAULT_MAX_FLOWS: u32 = 262_144;
/// About 25 GB of kernel memory.
const MOST_FLOWS: u32 = 1 << 26;
/// `IFNAMSIZ` less its final zero (linux/if.h).
const LONGEST_INTERFACE: usize = 15;
const LONGEST_PATTERN: usize = 64;
/// `sun_path` less its final zero (unix(7)).
const LONGEST_SOCKET: usize = 107;

/// The node, and where its regions are written.
pub(crate) struct NodeDraft {
    pub node: Node,
    /// The defaults of services depend on their forwarding.
    pub timeouts: TimeoutsDraft,
    pub region: Option<At<Arc<str>>>,
    pub nearby: List<Arc<str>>,
    pub sources: Option<SourcesDraft>,
}

/// Defaults that services take from the node.
#[derive(Clone, Copy, Default)]
pub(crate) struct ServiceDefaults {
    timeouts: TimeoutsDraft,
    pub unknown_flows: UnknownFlows,
}

impl ServiceDefaults {
    pub(crate) fn of(node: &NodeDraft) -> Self {
        Self { timeouts: node.timeouts, unknown_flows: node.node.unknown_flows }
    }

    pub(crate) fn timeouts(&self, forwarding: Forwarding) -> FlowTimeouts {
        self.timeouts.or(FlowTimeouts::usual(forwarding))
    }
}

impl NodeDraft {
    pub(crate) fn build(self) -> Node {
        let region = self.region.map(|region| region.value);
        let source_addresses = self.sources.map(SourcesDraft::build).unwrap_or_default();
        Node { region, nearby: self.nearby.into_values(), source_addresses, ..self.node }
    }
}

pub(crate) fn node(value: Value<'_>) -> Option<NodeDraft> {
    value.section(|node| {
        let interfaces = node.required("interfaces", r#"interfaces = ["eth0"]"#, interfaces);
        let region = node.optional("region", region);
        let nearby = node.optional("nearby", regions);
        let xdp = node.optional("xdp", xdp).unwrap_or(XdpMode::Auto);
        let source_ports = node.optional("source_ports", source_ports);
        let sources = node.optional("source_addresses", source_addresses);
        let max_flows = node.optional("max_flows", |it| it.number(1..=MOST_FLOWS));
        let max_flows = max_flows.unwrap_or(DEFAULT_MAX_FLOWS);
        let maglev_size = node.optional("maglev_table_size", |it| it.number(MAGLEV_SIZES));
        let max_half_open = node.optional("max_half_open", |it| it.number(1..=MOST_FLOWS));
        let max_fragments = node.optional("max_fragments", |it| it.number(1..=MOST_FLOWS));
        let max_affinities = node.optional("max_affinities", |it| it.number(1..=MOST_FLOWS));
        let max_sources = node.optional("max_sources", |it| it.number(1..=MOST_FLOWS));
        let timeouts = node.optional("flow_timeouts", flow_timeouts).unwrap_or_default();
        let unknown_flows = node.optional("unknown_flows", unknown_flows);
        let encap = node.optional("encap", encap);
        let state_dir = node.optional("state_dir", absolute_path);
        let pin_dir = node.optional("pin_dir", pin_dir);
        let workers = node.optional("workers", |it| it.number::<u16>(1..=1024));
        let answers = node.optional("answer_neighbours", answer_neighbours);
        let watches = node.optional("watch_config", Value::boolean);
        let nearby = nearby.unwrap_or(List { items: Vec::new(), whole: true });
        let node = Node {
            region: None,
            nearby: Vec::new(),
            interfaces: interfaces?,
            xdp,
            source_ports: source_ports.unwrap_or(DEFAULT_SOURCE_PORTS),
            source_addresses: SourceAddresses::default(),
            max_flows,
            maglev_table_size: maglev_size,
            max_half_open: max_half_open.unwrap_or((max_flows / 8).max(1024)),
            max_fragments: max_fragments.unwrap_or(16_384),
            max_affinities: max_affinities.unwrap_or(65_536),
            max_sources: max_sources.unwrap_or(65_536),
            flow_timeouts: timeouts.or(FlowTimeouts::default()),
            unknown_flows: unknown_flows.unwrap_or_default(),
            encap: encap.unwrap_or_else(default_encap),
            state_dir: state_dir.unwrap_or_else(|| DEFAULT_STATE_DIR.into()),
            pin_dir: pin_dir.unwrap_or_else(|| DEFAULT_PIN_DIR.into()),
            workers: workers.map(usize::from),
            answer_neighbours: answers.unwrap_or_default(),
            watch_config: watches.unwrap_or(true),
        };
        Some(NodeDraft { node, timeouts, region, nearby, sources })
    })
}

pub(crate) fn interfaces(value: Value<'_>) -> Option<Vec<InterfacePattern>> {
    let names = value.non_empty_list("name the interface that clients come in by", interface)?;
    value.report().refuse_repeats("interface", &names.items);
    Some(names.into_values())
}

/// Reads a name by the rule of the kernel's `dev_valid_name` (net/core/dev.c). A pattern may be
/// longer than the names that it matches.
fn interface(value: Value<'_>) -> Option<InterfacePattern> {
    let text = value.text()?;
    let pattern = InterfacePattern::new(text);
    let is_allowed = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '/' | ':');
    let longest = if pattern.is_name() { LONGEST_INTERFACE } else { LONGEST_PATTERN };
    let is_valid = (1..=longest).contains(&text.len())
        && !matches!(text, "." | "..")
        && text.chars().all(is_allowed);
    if is_valid {
        return Some(pattern);
    }
    value.refuse(
        format!("`{text}` is not the name of an interface"),
        "write it as `ip link` shows it: at most 15 bytes, no space, `/` or `:`; \
         `*` stands for any characters, `?` for one",
    )
}

/// Reads a path in a bpffs, where names have no dots (`bpf_lookup` in kernel/bpf/inode.c).
pub(crate) fn pin_dir(value: Value<'_>) -> Option<PathBuf> {
    let path = absolute_path(value)?;
    if path.to_string_lossy().contains('.') {
        let message =
            format!("a name in `{}` has a dot, which a bpffs does not take", path.display());
        return value.refuse(message, "write a path such as \"/sys/fs/bpf/lb\"");
    }
    Some(path)
}

fn xdp(value: Value<'_>) -> Option<XdpMode> {
    let modes =
        [("auto", XdpMode::Auto), ("native", XdpMode::Native), ("generic", XdpMode::Generic)];
    value.choice(&modes, &[])
}

fn unknown_flows(value: Value<'_>) -> Option<UnknownFlows> {
    value.choice(&[("reset", UnknownFlows::Reset), ("drop", UnknownFlows::Drop)], &[])
}

fn answer_neighbours(value: Value<'_>) -> Option<AnswerNeighbours> {
    use AnswerNeighbours::{Always, Assigned, Never};
    value.choice(&[("assigned", Assigned), ("always", Always), ("never", Never)], &[])
}

fn source_ports(value: Value<'_>) -> Option<RangeInclusive<u16>> {
    const HELP: &str = "write the first and last port in quotes, such as \"2048-32767\"";
    let text = value.text_or("a range in quotes such as \"2048-32767\"")?;
    let range = text.split_once('-').and_then(|(first, last)| {
        Some(first.trim().parse::<u16>().ok()?..=last.trim().parse::<u16>().ok()?)
    });
    let Some(range) = range else {
        return value.refuse(format!("`{text}` is not a range of ports"), HELP);
    };
    if range.is_empty() {
        return value.refuse(format!("the range `{text}` ends before it begins"), HELP);
    }
    if *range.start() < 1024 {
        let message = format!("the range `{text}` reaches below 1024, into well-known ports");
        return value.refuse(message, HELP);
    }
    Some(range)
}

/// Katran's default for IPv4: hardly anybody uses that network, and those who come from Katran know
/// it. For IPv6 it is the discard prefix (RFC 6666), to which nothing is ever sent back.
fn default_encap() -> Encap {
    let prefix = |address, length| IpNet::new(address, length).expect("not too long");
    Encap {
        source_v4: prefix(Ipv4Addr::new(172, 16, 0, 0).into(), 16),
        source_v6: prefix(Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0).into(), 64),
        gue_port: 6080,
    }
}

fn encap(value: Value<'_>) -> Option<Encap> {
    value.section(|encap| {
        let default = default_encap();
        let source_v4 = encap.optional("source_v4", |it| outer_source(it, true));
        let source_v6 = encap.optional("source_v6", |it| outer_source(it, false));
        let gue_port = encap.optional("gue_port", port);
        Some(Encap {
            source_v4: source_v4.unwrap_or(default.source_v4),
            source_v6: source_v6.unwrap_or(default.source_v6),
            gue_port: gue_port.map_or(default.gue_port, NonZeroU16::get),
        })
    })
}

fn outer_source(value: Value<'_>, is_v4: bool) -> Option<IpNet> {
    let network = network(value)?;
    if network.addr().is_ipv4() == is_v4 && network.prefix_len() > 0 {
        return Some(network);
    }
    let help = if is_v4 { "\"172.16.0.0/16\"" } else { "\"100::/64\"" };
    let message = format!("`{network}` cannot be the source of these outer headers");
    value.refuse(message, format!("write a range such as {help}"))
}

pub(crate) fn admin(value: Value<'_>) -> Option<Admin> {
    value.section(|admin| {
        let listen = admin.optional("listen", unix_socket);
        let mode = admin.optional("mode", socket_mode);
        let owner = admin.optional("owner", user);
        let group = admin.optional("group", user);
        admin.unsupported("metrics", "`lb status --json` prints the counters");
        let default = default_admin();
        Some(Admin {
            listen: listen.unwrap_or(default.listen),
            mode: mode.unwrap_or(default.mode),
            owner,
            group,
        })
    })
}

pub(crate) fn default_admin() -> Admin {
    Admin { listen: "/run/lb/admin.sock".into(), mode: 0o600, owner: None, group: None }
}

/// Reads a file's mode, as chmod takes it.
fn socket_mode(value: Value<'_>) -> Option<u32> {
    const HELP: &str = "write three octal digits in quotes, such as \"0660\" for owner and group";
    let text = value.text_or("octal digits in quotes such as \"0660\"")?;
    let mode = u32::from_str_radix(text, 8).ok().filter(|_| (3..=4).contains(&text.len()));
    match mode {
        Some(mode) if mode & 0o600 == 0o600 && mode <= 0o777 => Some(mode),
        Some(mode) if mode <= 0o777 => {
            value.refuse(format!("`{text}` keeps its own owner out"), HELP)
        }
        _ => value.refuse(format!("`{text}` is not a mode"), HELP),
    }
}

/// Reads the name or number of a user or group.
fn user(value: Value<'_>) -> Option<Arc<str>> {
    let text = value.text()?;
    let is_name = !text.is_empty() && !text.contains([':', '\0', '/', ' ']);
    if is_name {
        return Some(text.into());
    }
    value.refuse(
        format!("`{text}` in `{}` is not a name", value.key()),
        "write a name or number that this host knows",
    )
}

pub(crate) fn unix_socket(value: Value<'_>) -> Option<PathBuf> {
    const HELP: &str = "write a unix socket, such as \"unix:/run/lb/admin.sock\"";
    let text = value.text()?;
    let Some(path) = text.strip_prefix("unix:") else {
        return value.refuse(format!("`{text}` does not begin with `unix:`"), HELP);
    };
    if !path.starts_with('/') || path.contains('\0') {
        return value.refuse(format!("`{path}` is not an absolute path"), HELP);
    }
    if path.len() > LONGEST_SOCKET {
        let message = format!("the socket's path is {} bytes long", path.len());
        return value.refuse(message, "a unix socket's path has at most 107 bytes");
    }
    Some(path.into())
}
