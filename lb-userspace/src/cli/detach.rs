//! `lb detach`: removes what outlives the daemon, and reports what that was.

use std::{fmt::Display, path::Path, process::ExitCode};

use crate::{
    app::{self, Detached},
    config::DaemonPaths,
};

use super::{
    output::{fail, print},
    status,
};

pub(super) fn detach(file: Option<&Path>) -> ExitCode {
    let DaemonPaths { pin_dir, state_dir, .. } = match status::daemon_paths(file) {
        Ok(found) => found,
        Err(code) => return code,
    };
    let detached = app::detach(&pin_dir, &state_dir);
    match detached.and_then(|detached| print(&render(&detached, &pin_dir))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn render(detached: &Detached, pin_dir: &Path) -> String {
    let Detached { datapath, host } = detached;
    let interfaces = datapath.interfaces.iter().map(|(name, mode)| format!("{name} ({mode})"));
    let maps = (datapath.maps > 0).then(|| format!("{} in {}", datapath.maps, pin_dir.display()));
    let lines = [
        line("XDP detached from", interfaces),
        line("sk_lookup", datapath.listeners.then_some("detached")),
        line("maps removed", maps),
        line("routes removed", &host.routes),
        line("neighbours released", &host.neighbours),
        line("settings restored", &host.settings),
        line("settings left", &host.unclear),
    ];
    let mut text = lines.concat();
    if !host.unclear.is_empty() {
        text += "The settings left are those of lb or older: undo.json in `state_dir`, which knew, \
                 was lost.\nReset those that this host does not need: `sysctl -w`\n";
    }
    if text.is_empty() { "nothing to detach\n".to_owned() } else { text }
}

/// Returns a line, or nothing if there is nothing to list.
fn line(what: &str, items: impl IntoIterator<Item = impl Display>) -> String {
    let items: Vec<_> = items.into_iter().map(|item| item.to_string()).collect();
    if items.is_empty() { String::new() } else { format!("{what:<20} {}\n", items.join(", ")) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{datapath::RemovedPins, host::UndoneChanges};

    #[test]
    fn what_was_there_is_told() {
        let nothing = Detached::default();
        assert_eq!(render(&nothing, Path::new("/p")), "nothing to detach\n");
        let interfaces = vec![("eth0".to_owned(), "native"), ("eth1".to_owned(), "generic")];
        let detached = Detached {
            datapath: RemovedPins { interfaces, listeners: true, maps: 14 },
            host: UndoneChanges {
                routes: BTreeSet::from(
                    ["203.0.113.1", "2001:db8::1"].map(|ip| ip.parse().unwrap()),
                ),
                ..UndoneChanges::default()
            },
        };
        let text = "\
XDP detached from    eth0 (native), eth1 (generic)
sk_lookup            detached
maps removed         14 in /p
routes removed       203.0.113.1, 2001:db8::1
";
        assert_eq!(render(&detached, Path::new("/p")), text);
        let unclear = BTreeSet::from(["net/ipv4/conf/eth0/forwarding".to_owned()]);
        let host = UndoneChanges { unclear, ..UndoneChanges::default() };
        let text = render(&Detached { host, ..Detached::default() }, Path::new("/p"));
        assert!(text.starts_with("settings left        net/ipv4/conf/eth0/forwarding\n"), "{text}");
        assert!(text.contains("undo.json"), "{text}");
    }
}
