//! What the kernels on a connection's way counted, for a failure that will not come again soon.

use crate::{
    daemon::process::Daemon,
    lab::{process::output, topology::Lab},
};

/// Counters that say where a connection broke.
const TELLING: [&str; 9] =
    ["Abort", "CsumErr", "Drop", "Fail", "InErrs", "Listen", "Overflow", "Retrans", "Rst"];

/// The telling counters of each of the lab's namespaces, what lb dropped, and its log.
#[must_use]
pub fn diagnose(lab: &Lab, daemon: &Daemon) -> String {
    let mut lines = vec![];
    let backends = lab.backends.iter().map(|backend| &backend.netns);
    for netns in [&lab.client, &lab.lb].into_iter().chain(backends) {
        let counted = output(netns.command("nstat").arg("-as")).unwrap_or_default();
        let telling = counted.lines().filter(|line| TELLING.iter().any(|word| line.contains(word)));
        lines.extend(telling.map(|line| format!("{}: {line}", netns.name())));
    }
    if let Ok(status) = daemon.status() {
        let drops = status.drops.iter().filter(|drop| drop.packets > 0);
        lines.extend(drops.map(|drop| format!("lb dropped: {drop:?}")));
        lines.push(format!("{:?}", status.verdicts));
    }
    lines.push(daemon.log());
    lines.join("\n")
}
