//! `lb explain`: what would happen to a packet, and why.

use std::{
    fmt::{self, Write},
    net::{IpAddr, SocketAddr},
    process::ExitCode,
};

use crate::admin::{
    DecisionStatus, Endpoint, Explanation, FlowKnown, OutgoingPacket, PacketQuery, Transport,
    client,
};

use super::{
    output::{fail, print},
    selector,
};

/// Bits of a TCP header (RFC 9293, 3.1), as the help of `--flags` lists them.
const FLAGS: [(&str, u8); 8] = [
    ("fin", 0x01),
    ("syn", 0x02),
    ("rst", 0x04),
    ("psh", 0x08),
    ("ack", 0x10),
    ("urg", 0x20),
    ("ece", 0x40),
    ("cwr", 0x80),
];

#[derive(Debug, clap::Args)]
pub(super) struct ExplainFlags {
    /// The client's address and port.
    #[arg(long, value_name = "IP:PORT")]
    from: Endpoint,
    /// The announced address and port; for icmp the address alone.
    #[arg(long, value_name = "IP:PORT")]
    to: Endpoint,
    /// tcp, udp or icmp (an echo request).
    #[arg(long, value_name = "PROTOCOL", default_value = "tcp")]
    proto: Transport,
    /// TCP flags: fin, syn, rst, psh, ack, urg, ece, cwr.
    #[arg(long, value_name = "FLAG,…", default_value = "syn", value_delimiter = ',', value_parser = flag)]
    flags: Vec<u8>,
    /// Bytes of the IP packet. Default: its headers alone.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u16).range(1..))]
    size: Option<u16>,
    /// Interface that the packet comes in by. Default: the first of `[node] interfaces`.
    #[arg(long, value_name = "INTERFACE")]
    interface: Option<String>,
    /// Print one JSON object instead of text.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: selector::SocketFlags,
}

fn flag(text: &str) -> Result<u8, String> {
    let known = FLAGS.iter().find(|(name, _)| *name == text);
    let known = known.map(|(_, bit)| *bit);
    known.ok_or_else(|| format!("`{text}` is none of {}", FLAGS.map(|(name, _)| name).join(", ")))
}

pub(super) fn explain(flags: ExplainFlags) -> ExitCode {
    let json = flags.json;
    let shown = question(&flags).and_then(|question| {
        let socket = match flags.socket.path() {
            Ok(socket) => socket,
            Err(code) => return Ok(code),
        };
        let explanation = client::explain(&socket, &question)?;
        match json {
            true => print(&(serde_json::to_string_pretty(&explanation)? + "\n")),
            false => print(&render(&explanation)),
        }
        .map(|()| ExitCode::SUCCESS)
    });
    shown.unwrap_or_else(|error| fail(&error))
}

fn question(flags: &ExplainFlags) -> anyhow::Result<PacketQuery> {
    let port = |end: Endpoint, flag: &str| match (end.port, flags.proto) {
        (Some(port), _) => Ok(SocketAddr::new(end.address, port)),
        (None, Transport::Icmp) => Ok(SocketAddr::new(end.address, 0)),
        (None, protocol) => Err(anyhow::anyhow!(
            "{flag} {} has no port, which {} needs: {flag} {}",
            end.address,
            protocol.name(),
            SocketAddr::new(end.address, 80)
        )),
    };
    Ok(PacketQuery {
        from: port(flags.from, "--from")?,
        to: port(flags.to, "--to")?,
        protocol: flags.proto,
        flags: flags.flags.iter().fold(0, |all, bit| all | bit),
        size: flags.size.map_or(0, usize::from),
        interface: flags.interface.clone(),
    })
}

fn render(explanation: &Explanation) -> String {
    let mut text = String::new();
    write(explanation, &mut text).expect("a String takes everything");
    text
}

fn write(explanation: &Explanation, out: &mut String) -> fmt::Result {
    let decision = &explanation.decision;
    writeln!(out, "packet    {}", packet(decision))?;
    if let Some(service) = &decision.service {
        let sharing = decision.sharing.iter().map(|other| format!(" or {other}"));
        let sharing = sharing.collect::<String>();
        let by = if sharing.is_empty() { "" } else { ", by the host name" };
        writeln!(out, "service   {service}{sharing}{by}")?;
    }
    writeln!(out, "flow      {}", flow(decision))?;
    if let Some(backend) = decision.backend {
        let mode = decision.mode.as_deref().unwrap_or("unknown");
        writeln!(out, "backend   {backend}, reached by {mode}")?;
    }
    if let Some(leaves) = &explanation.leaves {
        writeln!(out, "leaves    {}", leaving(leaves))?;
    }
    writeln!(out, "verdict   {}", verdict(decision))?;
    if let Some(meaning) = &explanation.meaning {
        writeln!(out, "because   {meaning}")?;
    }
    if let Some(advice) = &explanation.advice {
        writeln!(out, "advice    {advice}")?;
    }
    match &explanation.warning {
        Some(warning) => writeln!(out, "warning   {warning}"),
        None => Ok(()),
    }
}

/// Describes a packet in one line.
pub(super) fn packet(decision: &DecisionStatus) -> String {
    let protocol = decision.protocol.map_or("ip", Transport::name);
    let flags = decision.flags.map_or_else(String::new, |flags| {
        let set = FLAGS.iter().filter(|(_, bit)| flags & bit != 0);
        let names: Vec<_> = set.map(|(name, _)| *name).collect();
        format!(" {}", names.join(","))
    });
    let end = |end: SocketAddr| end_of(end, decision.protocol);
    let DecisionStatus { length, interface, .. } = decision;
    match (decision.from, decision.to) {
        (Some(from), Some(to)) => {
            let (from, to) = (end(from), end(to));
            format!("{protocol} {from} → {to}{flags}, {length} bytes, in by {interface}")
        }
        _ => format!("{}, {length} bytes, in by {interface}", frame(decision.ethertype)),
    }
}

/// Names a frame without readable addresses (IANA, IEEE 802 Numbers).
fn frame(ethertype: u16) -> String {
    match ethertype {
        0 => "a frame that is too short".to_owned(),
        0x0806 => "arp".to_owned(),
        0x0800 => "ip, unreadable".to_owned(),
        0x86dd => "ipv6, unreadable".to_owned(),
        0x88cc => "lldp".to_owned(),
        0x8100 | 0x88a8 => "a VLAN's frame, not of ip".to_owned(),
        // A smaller value is a length (IEEE 802.3): spanning tree, IS-IS.
        1..0x0600 => "an 802.3 frame".to_owned(),
        other => format!("ethertype {other:#06x}"),
    }
}

fn end_of(end: SocketAddr, protocol: Option<Transport>) -> String {
    match (end, protocol) {
        (end, Some(Transport::Icmp)) => end.ip().to_string(),
        (end, _) => end.to_string(),
    }
}

fn flow(decision: &DecisionStatus) -> String {
    let known = match decision.flow {
        FlowKnown::None => "none".to_owned(),
        FlowKnown::New => format!("new, {}", chosen(decision)),
        FlowKnown::HalfOpen => "half-open".to_owned(),
        FlowKnown::Promoted => "half-open, established by this packet".to_owned(),
        FlowKnown::Established => "established".to_owned(),
    };
    let closing = if decision.closing { ", closed by this packet" } else { "" };
    let revived = if decision.revived { ", continues although it was closed" } else { "" };
    let evicts = if decision.evicts { ", evicts another flow" } else { "" };
    format!("{known}{revived}{closing}{evicts}")
}

/// Returns how its backend was chosen.
fn chosen(decision: &DecisionStatus) -> String {
    match (decision.regions_full, decision.ring_slot) {
        (0, Some([slot, length])) => format!("by slot {slot} of {length} of the ring"),
        (0, None) => "by comparing loads".to_owned(),
        (1, _) => "in the next region: the nearest has no room".to_owned(),
        (full, _) => format!("in a farther region: the {full} nearest have no room"),
    }
}

fn leaving(leaves: &OutgoingPacket) -> String {
    let end = |end: SocketAddr| match (end.port(), end.ip()) {
        (0, IpAddr::V4(v4)) => v4.to_string(),
        (0, IpAddr::V6(v6)) => v6.to_string(),
        _ => end.to_string(),
    };
    let vlan = leaves.vlan.map_or_else(String::new, |vlan| format!(", VLAN {vlan}"));
    let OutgoingPacket { interface, next_hop, .. } = leaves;
    format!("{} → {}, by {interface}{vlan} to {next_hop}", end(leaves.from), end(leaves.to))
}

/// Returns the decision in words.
pub(super) fn verdict(decision: &DecisionStatus) -> String {
    let words = match &*decision.verdict {
        "pass" => "passed to the host: it is not for an announced address",
        "proxy" => "given to the proxy, in userspace",
        "steer" => "steered: rewritten and sent on",
        "reply" => "answered with an echo reply",
        "answer" => "refused, and the sender is told",
        _ => "dropped",
    };
    match &decision.reason {
        Some(reason) => format!("{words}: {reason}"),
        None => words.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision() -> DecisionStatus {
        DecisionStatus {
            at_ns: 1,
            protocol: Some(Transport::Tcp),
            from: Some("198.51.100.7:4000".parse().unwrap()),
            to: Some("203.0.113.1:80".parse().unwrap()),
            ethertype: 0x0800,
            flags: Some(0x12),
            length: 54,
            interface: "eth0".into(),
            service: Some("web".into()),
            sharing: Vec::new(),
            flow: FlowKnown::New,
            ring_slot: Some([17, 307]),
            regions_full: 0,
            backend: Some("10.0.0.1:8080".parse().unwrap()),
            source: Some("10.0.0.254:2048".parse().unwrap()),
            mode: Some("nat".into()),
            closing: false,
            revived: false,
            evicts: false,
            verdict: "steer".into(),
            reason: None,
        }
    }

    #[test]
    fn a_steered_packet_is_told_from_end_to_end() {
        let leaves = OutgoingPacket {
            from: "10.0.0.254:2048".parse().unwrap(),
            to: "10.0.0.1:8080".parse().unwrap(),
            interface: "eth1".into(),
            vlan: Some(7),
            next_hop: "02:00:00:00:00:01".into(),
        };
        let explanation = Explanation {
            decision: decision(),
            leaves: Some(leaves),
            meaning: None,
            advice: None,
            warning: None,
        };
        let text = "\
packet    tcp 198.51.100.7:4000 → 203.0.113.1:80 syn,ack, 54 bytes, in by eth0
service   web
flow      new, by slot 17 of 307 of the ring
backend   10.0.0.1:8080, reached by nat
leaves    10.0.0.254:2048 → 10.0.0.1:8080, by eth1, VLAN 7 to 02:00:00:00:00:01
verdict   steered: rewritten and sent on
";
        assert_eq!(render(&explanation), text);
    }

    #[test]
    fn a_frame_without_addresses_is_named_by_its_type() {
        let told = |ethertype| {
            packet(&DecisionStatus {
                protocol: None,
                from: None,
                to: None,
                ethertype,
                flags: None,
                ..decision()
            })
        };
        assert_eq!(told(0x0806), "arp, 54 bytes, in by eth0");
        assert_eq!(told(0x88cc), "lldp, 54 bytes, in by eth0");
        assert_eq!(told(0x8847), "ethertype 0x8847, 54 bytes, in by eth0");
        assert_eq!(told(0x0026), "an 802.3 frame, 54 bytes, in by eth0");
    }

    #[test]
    fn every_flag_is_in_the_help() {
        use clap::Args as _;
        let help =
            ExplainFlags::augment_args(clap::Command::new("explain")).render_help().to_string();
        let names = FLAGS.map(|(name, _)| name).join(", ");
        assert!(help.contains(&names), "{help}");
    }

    #[test]
    fn all_services_of_a_shared_port_are_named() {
        let sharing = vec!["api".to_owned(), "blog".to_owned()];
        let decision = DecisionStatus { sharing, ..decision() };
        let text = render(&Explanation {
            decision,
            leaves: None,
            meaning: None,
            advice: None,
            warning: None,
        });
        assert!(text.contains("service   web or api or blog, by the host name\n"), "{text}");
    }

    #[test]
    fn how_a_backend_was_chosen_is_told() {
        let told = |regions_full, ring_slot| {
            flow(&DecisionStatus { regions_full, ring_slot, ..decision() })
        };
        assert_eq!(told(0, None), "new, by comparing loads");
        assert_eq!(told(1, None), "new, in the next region: the nearest has no room");
        assert_eq!(told(2, Some([1, 2])), "new, in a farther region: the 2 nearest have no room");
    }

    #[test]
    fn a_dropped_one_comes_with_advice() {
        let decision = DecisionStatus {
            flow: FlowKnown::None,
            backend: None,
            verdict: "drop".into(),
            reason: Some("no_backend".into()),
            ..decision()
        };
        let (meaning, advice) = (Some("all down".to_owned()), Some("mend them".to_owned()));
        let text = render(&Explanation { decision, leaves: None, meaning, advice, warning: None });
        assert!(
            text.ends_with(
                "verdict   dropped: no_backend\nbecause   all down\nadvice    mend them\n"
            )
        );
    }
}
