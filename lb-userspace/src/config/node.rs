//! `[node]` and `[admin]`: this host, and the daemon's door.

use std::{ops::RangeInclusive, path::PathBuf, time::Duration};

use crate::settings::{
    Admin, DEFAULT_PIN_DIR, DEFAULT_STATE_DIR, FlowTimeouts, InterfacePattern, Node, XdpMode,
};

use super::{
    reader::Value,
    scalar::{absolute_path, duration, name},
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

pub(super) fn node(value: Value<'_>) -> Option<Node> {
    value.section(|node| {
        let interfaces = node.required("interfaces", r#"interfaces = ["eth0"]"#, interfaces);
        let region = node.optional("region", name);
        let xdp = node.optional("xdp", xdp).unwrap_or(XdpMode::Auto);
        let source_ports = node.optional("source_ports", source_ports);
        let max_flows = node.optional("max_flows", |it| it.number(1..=MOST_FLOWS));
        let flow_timeouts = node.optional("flow_timeouts", flow_timeouts);
        let state_dir = node.optional("state_dir", absolute_path);
        let pin_dir = node.optional("pin_dir", pin_dir);
        let workers = node.optional("workers", |it| it.number::<u16>(1..=1024));
        Some(Node {
            region,
            interfaces: interfaces?,
            xdp,
            source_ports: source_ports.unwrap_or(DEFAULT_SOURCE_PORTS),
            max_flows: max_flows.unwrap_or(DEFAULT_MAX_FLOWS),
            flow_timeouts: flow_timeouts.unwrap_or(DEFAULT_FLOW_TIMEOUTS),
            state_dir: state_dir.unwrap_or_else(|| DEFAULT_STATE_DIR.into()),
            pin_dir: pin_dir.unwrap_or_else(|| DEFAULT_PIN_DIR.into()),
            workers: workers.map(usize::from),
        })
    })
}

pub(super) fn interfaces(value: Value<'_>) -> Option<Vec<InterfacePattern>> {
    let names = value.some_list("name the interface that clients come in by", interface)?;
    value.report().refuse_repeats("interface", &names.items);
    Some(names.into_values())
}

/// The rule of the kernel's `dev_valid_name` (net/core/dev.c). A pattern may be longer than what it
/// stands for.
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

/// Names in a bpffs have no dots (`bpf_lookup` in kernel/bpf/inode.c).
fn pin_dir(value: Value<'_>) -> Option<PathBuf> {
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

const DEFAULT_FLOW_TIMEOUTS: FlowTimeouts = FlowTimeouts {
    half_open: Duration::from_secs(30),
    established: Duration::from_secs(3600),
    closed: Duration::from_secs(10),
    udp: Duration::from_secs(60),
};

fn flow_timeouts(value: Value<'_>) -> Option<FlowTimeouts> {
    value.section(|timeouts| {
        let mut or = |key, default| timeouts.optional(key, duration).unwrap_or(default);
        Some(FlowTimeouts {
            half_open: or("half_open", DEFAULT_FLOW_TIMEOUTS.half_open),
            established: or("established", DEFAULT_FLOW_TIMEOUTS.established),
            closed: or("closed", DEFAULT_FLOW_TIMEOUTS.closed),
            udp: or("udp", DEFAULT_FLOW_TIMEOUTS.udp),
        })
    })
}

pub(super) fn admin(value: Value<'_>) -> Option<Admin> {
    value.section(|admin| {
        let listen = admin.optional("listen", unix_socket);
        admin.not_yet("metrics", "`lb status --json` prints the counters");
        Some(listen.map_or_else(default_admin, |listen| Admin { listen }))
    })
}

pub(super) fn default_admin() -> Admin {
    Admin { listen: "/run/lb/admin.sock".into() }
}

fn unix_socket(value: Value<'_>) -> Option<PathBuf> {
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
