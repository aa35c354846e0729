//! The table that `lb status` prints.

pub(super) mod columns;
#[cfg(test)]
mod tests;

use std::{
    fmt::{self, Display, Write},
    time::Duration,
};

use crate::admin::{
    BackendStatus, CertificateStatus, Drops, Flows, HandshakeStatus, LackStatus, RepairCount,
    ServiceStatus, Status,
};

use columns::{Align, Columns};

/// Returns a status as text. `coloured`: backends that are down are red.
pub(super) fn render(status: &Status, coloured: bool) -> String {
    let mut text = String::new();
    write(status, coloured, &mut text).expect("a String takes everything");
    text
}

fn write(status: &Status, coloured: bool, out: &mut String) -> fmt::Result {
    let uptime = humantime::format_duration(Duration::from_secs(status.uptime_seconds));
    writeln!(out, "lb {}, up {uptime}", status.version)?;
    if !status.draining_processes.is_empty() {
        let ids: Vec<_> = status.draining_processes.iter().map(ToString::to_string).collect();
        writeln!(out, "connections of earlier processes go on: {}", ids.join(", "))?;
    }
    let attached = status.interfaces.iter();
    let attached = attached.map(|interface| format!("{} ({})", interface.name, interface.mode));
    writeln!(out, "interfaces  {}", listed(attached))?;
    write_flows(&status.flows, out)?;
    let verdicts = &status.verdicts;
    let counts = [
        ("pass", verdicts.pass),
        ("proxy", verdicts.proxy),
        ("steer", verdicts.steer),
        ("reply", verdicts.reply),
    ];
    writeln!(out, "packets     {}", listed(counts.map(|(name, count)| format!("{name} {count}"))))?;
    writeln!(out, "drops       {}", drops(&status.drops))?;
    write_handshakes(&status.handshakes, out)?;
    write_lacks(&status.lacks, out)?;
    write_repaired(&status.repaired, out)?;
    for warning in &status.warnings {
        writeln!(out, "warning     {warning}")?;
    }
    write_certificates(&status.certificates, out)?;
    for service in &status.services {
        writeln!(out)?;
        write_service(service, coloured, out)?;
    }
    Ok(())
}

/// Writes nothing if nothing was ever repaired.
fn write_repaired(repaired: &[RepairCount], out: &mut String) -> fmt::Result {
    let mut repaired = repaired.iter().filter(|it| it.count > 0).peekable();
    if repaired.peek().is_none() {
        return Ok(());
    }
    let repaired = repaired.map(|it| format!("{} {}", it.what, it.count));
    writeln!(out, "repaired    {}", listed(repaired))
}

/// Writes nothing if there was no handshake.
fn write_handshakes(handshakes: &HandshakeStatus, out: &mut String) -> fmt::Result {
    let failed = handshakes.failed.iter().filter(|failed| failed.count > 0);
    let failed: Vec<_> = failed.map(|it| format!("{} {}", it.kind, it.count)).collect();
    match (handshakes.completed, &*failed) {
        (0, []) => Ok(()),
        (completed, []) => writeln!(out, "handshakes  {completed}"),
        (completed, failed) => {
            writeln!(out, "handshakes  {completed}, failed: {}", listed(failed))
        }
    }
}

/// Writes nothing if nothing was ever lacking.
fn write_lacks(lacks: &[LackStatus], out: &mut String) -> fmt::Result {
    let lacks = lacks.iter().filter(|lack| lack.count > 0);
    let lacks: Vec<_> = lacks.map(|lack| format!("{} {}", lack.undone, lack.count)).collect();
    if lacks.is_empty() {
        return Ok(());
    }
    writeln!(out, "lacking     {}: `ulimit -n`, ports and memory of this host", listed(lacks))
}

/// Writes only certificates that need the operator's attention.
fn write_certificates(certificates: &[CertificateStatus], out: &mut String) -> fmt::Result {
    for CertificateStatus { path, names, concern, problem, .. } in certificates {
        let path = path.display();
        if let Some(concern) = concern {
            writeln!(out, "certificate {path} {concern}")?;
        }
        if let Some(problem) = problem {
            let until_then = if names.is_empty() { "not used" } else { "not taken over" };
            writeln!(out, "certificate {path} is {until_then}: {problem}")?;
        }
    }
    Ok(())
}

/// Writes evictions only if there were any: a table that is large enough has none.
fn write_flows(flows: &Flows, out: &mut String) -> fmt::Result {
    let established = flows.live.saturating_sub(flows.half_open);
    writeln!(
        out,
        "flows       established {established} of {}, half-open {} of {}, closed {}",
        flows.max, flows.half_open, flows.max_half_open, flows.closed,
    )?;
    let pressure = [
        ("established", flows.evicted),
        ("half-open", flows.evicted_half_open),
        ("crowded", flows.crowded),
    ];
    if pressure.iter().any(|(_, count)| *count > 0) {
        let pressure = pressure.map(|(name, count)| format!("{name} {count}"));
        writeln!(out, "evicted     {}", listed(pressure))?;
    }
    if flows.rerouted > 0 {
        writeln!(out, "rerouted    {} by QUIC connection id", flows.rerouted)?;
    }
    Ok(())
}

/// The most frequent reasons first; those that never happened are left out.
fn drops(drops: &[Drops]) -> String {
    let mut drops: Vec<_> = drops.iter().filter(|drop| drop.packets > 0).collect();
    drops.sort_by(|a, b| (b.packets, &a.reason).cmp(&(a.packets, &b.reason)));
    listed(drops.iter().map(|drop| format!("{} {}", drop.reason, drop.packets)))
}

fn state(backend: &BackendStatus) -> String {
    let [under_way, over] =
        if backend.removed { ["removed", "removed, time is up"] } else { ["draining", "drained"] };
    let draining = match backend.drain_remaining_ms {
        None => under_way.to_owned(),
        Some(0) => over.to_owned(),
        Some(left) => {
            let left = Duration::from_secs(left.div_ceil(1000));
            format!("{under_way}, {} left", humantime::format_duration(left))
        }
    };
    let state = match (backend.up, backend.draining) {
        (false, true) => format!("down, {draining}"),
        (false, false) => "down".to_owned(),
        (true, true) => draining,
        (true, false) => "up".to_owned(),
    };
    match backend.unanswered {
        None | Some(0) => state,
        Some(count) => format!("{state}, {count} unanswered"),
    }
}

fn write_service(service: &ServiceStatus, coloured: bool, out: &mut String) -> fmt::Result {
    let failed = match service.failed {
        0 => String::new(),
        failed => format!(", {failed} failed"),
    };
    let exhausted = match service.no_source_port {
        0 => String::new(),
        refused => format!(", {refused} refused without a source port"),
    };
    let forwarding = service.forwarding.as_ref().map_or(String::new(), |it| format!(" {it}"));
    let counted = &service.counts;
    if service.removed {
        writeln!(out, "{}  removed  {} {counted}", service.name, service.requests)?;
    } else {
        writeln!(
            out,
            "{}  {} {}{forwarding} {}  {}  port {}  {} {counted}{failed}{exhausted}",
            service.name,
            service.path,
            service.protocol,
            service.strategy,
            listed(&service.addresses),
            listed(&service.ports),
            service.requests,
        )?;
    }
    let has_ports = service.backends.iter().any(|backend| backend.source_ports.is_some());
    let mut columns = Columns::new([
        ("BACKEND", Align::Left),
        ("STATE", Align::Left),
        ("WEIGHT", Align::Right),
        ("LIVE", Align::Right),
        (&*counted.to_uppercase(), Align::Right),
        (if has_ports { "SOURCE PORTS" } else { "" }, Align::Right),
    ]);
    for backend in &service.backends {
        columns.add([
            backend.address.to_string(),
            state(backend),
            backend.weight.to_string(),
            backend.live.to_string(),
            backend.taken.to_string(),
            backend.source_ports.map_or(String::new(), |it| format!("{} of {}", it.used, it.room)),
        ]);
    }
    let is_red = |row: usize| coloured && !service.backends[row].up;
    columns.write(out, "  ", is_red)
}

fn listed(items: impl IntoIterator<Item = impl Display>) -> String {
    let words: Vec<_> = items.into_iter().map(|item| item.to_string()).collect();
    if words.is_empty() {
        return "none".to_owned();
    }
    words.join(", ")
}
