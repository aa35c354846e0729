//! `lb flows`: lists the connections that are steered now.

use std::{process::ExitCode, time::Duration};

use crate::admin::{FlowList, FlowQuery, client};

use super::{
    output::{fail, print},
    selector,
    table::columns::{Align, Columns},
};

#[derive(Debug, clap::Args)]
pub(super) struct FlowsFlags {
    #[command(flatten)]
    selector: selector::Selection,
    /// Most flows to show; those opened last are kept.
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: selector::SocketFlags,
}

pub(super) fn flows(flags: FlowsFlags) -> ExitCode {
    let socket = match flags.socket.path() {
        Ok(socket) => socket,
        Err(code) => return code,
    };
    let query = FlowQuery { selector: flags.selector.selector(), limit: flags.limit };
    let shown = client::flows(&socket, &query).and_then(|list| match flags.json {
        true => print(&(serde_json::to_string_pretty(&list)? + "\n")),
        false => print(&render(&list)),
    });
    match shown {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn render(list: &FlowList) -> String {
    let mut columns = Columns::new([
        ("PROTO", Align::Left),
        ("CLIENT", Align::Left),
        ("VIP", Align::Left),
        ("BACKEND", Align::Left),
        ("AS", Align::Left),
        ("SERVICE", Align::Left),
        ("STATE", Align::Left),
        ("MODE", Align::Left),
        ("AGE", Align::Right),
        ("CLIENT IDLE", Align::Right),
        ("BACKEND IDLE", Align::Right),
    ]);
    let none = || "-".to_owned();
    for flow in &list.flows {
        columns.add([
            flow.protocol.name().to_owned(),
            flow.client.to_string(),
            flow.vip.to_string(),
            flow.backend.to_string(),
            flow.source.map_or_else(none, |source| source.to_string()),
            flow.service.clone().unwrap_or_else(none),
            flow.state.name().to_owned(),
            flow.mode.clone(),
            time(flow.age_ms),
            time(flow.client_idle_ms),
            flow.backend_idle_ms.map_or_else(none, time),
        ]);
    }
    let mut text = String::new();
    columns.write(&mut text, "", |_| false).expect("a String takes everything");
    match list.more {
        0 => text,
        more => format!("{text}and {more} more: --limit shows them, --client and others select\n"),
    }
}

/// Formats tenths of a second for short times, then whole seconds.
fn time(millis: u64) -> String {
    if millis < 10_000 {
        return format!("{}.{}s", millis / 1000, millis % 1000 / 100);
    }
    humantime::format_duration(Duration::from_secs(millis / 1000)).to_string().replace(' ', "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::{FlowState, FlowStatus, Transport};

    #[test]
    fn flows_stand_in_columns_and_the_rest_is_counted() {
        let flow = FlowStatus {
            protocol: Transport::Tcp,
            client: "198.51.100.7:4000".parse().unwrap(),
            vip: "203.0.113.1:80".parse().unwrap(),
            backend: "10.0.0.1:8080".parse().unwrap(),
            source: Some("10.0.0.254:2048".parse().unwrap()),
            service: Some("web".into()),
            state: FlowState::HalfOpen,
            mode: "nat".into(),
            age_ms: 75_000,
            client_idle_ms: 1_250,
            backend_idle_ms: None,
        };
        let text = render(&FlowList { flows: vec![flow], more: 7 });
        let lines: Vec<_> = text.lines().collect();
        let cells: Vec<_> = lines[1].split_whitespace().collect();
        let expected = [
            "tcp",
            "198.51.100.7:4000",
            "203.0.113.1:80",
            "10.0.0.1:8080",
            "10.0.0.254:2048",
            "web",
            "half-open",
            "nat",
            "1m15s",
            "1.2s",
            "-",
        ];
        assert_eq!(cells, expected);
        assert!(lines[2].starts_with("and 7 more"));
    }
}
