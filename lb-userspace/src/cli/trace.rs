//! `lb trace`: shows decisions about live packets.

use std::process::ExitCode;

use crate::admin::{DecisionStatus, FlowKnown, TraceLine, TraceQuery, client};

use super::{
    explain,
    output::{fail, print, print_error},
    selector,
};

#[derive(Debug, clap::Args)]
pub(super) struct TraceFlags {
    #[command(flatten)]
    selector: selector::Selection,
    /// Report one packet in so many.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    sample: u32,
    /// End after so many packets. Default: continue until Ctrl-C.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Print one JSON object per line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: selector::SocketFlags,
}

pub(super) fn trace(flags: TraceFlags) -> ExitCode {
    let socket = match flags.socket.path() {
        Ok(socket) => socket,
        Err(code) => return code,
    };
    let query = TraceQuery { selector: flags.selector.selector(), sample: flags.sample };
    let (mut left, mut told) = (flags.count.unwrap_or(u64::MAX), None);
    let traced = client::trace(&socket, &query, |line| {
        match line {
            TraceLine::Decision(decision) => {
                left = left.saturating_sub(1);
                print(&match flags.json {
                    true => serde_json::to_string(&decision)? + "\n",
                    false => render(&decision) + "\n",
                })?;
            }
            TraceLine::Lost(lost) => {
                match told {
                    None => print_error("tracing; Ctrl-C ends it"),
                    Some(before) if lost > before => {
                        print_error(&format!("{lost} lost: select more narrowly, or --sample"));
                    }
                    Some(_) => {}
                }
                told = Some(lost);
            }
        }
        Ok(left > 0)
    });
    match traced {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn render(decision: &DecisionStatus) -> String {
    let flow = match decision.flow {
        FlowKnown::None => "",
        FlowKnown::New => ", new flow",
        FlowKnown::HalfOpen => ", half-open flow",
        FlowKnown::Promoted => ", flow established",
        FlowKnown::Established => ", established flow",
    };
    let closing = if decision.closing { ", closing" } else { "" };
    let revived = if decision.revived { ", going on" } else { "" };
    let service = decision.service.as_ref().map_or_else(String::new, |it| format!(", {it}"));
    let backend = decision.backend.map_or_else(String::new, |it| format!(", backend {it}"));
    let seconds = decision.at_ns / 1_000_000_000;
    let millis = decision.at_ns / 1_000_000 % 1000;
    format!(
        "{seconds}.{millis:03}  {}: {}{service}{flow}{revived}{closing}{backend}",
        explain::packet(decision),
        verdict(decision)
    )
}

fn verdict(decision: &DecisionStatus) -> String {
    match &decision.reason {
        Some(reason) => format!("{} {reason}", decision.verdict),
        None => decision.verdict.clone(),
    }
}
