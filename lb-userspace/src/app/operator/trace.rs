//! `lb trace`: reports what the kernel program decides, for as long as a client reads it.

use std::{sync::Arc, time::Duration};

use lb_common::{
    abi::{Address, TraceFilter},
    parse::{TCP, UDP},
};
use tokio::{
    select,
    sync::{mpsc, oneshot},
    task,
    time::{self, MissedTickBehavior},
};

use super::{
    explain::{status, traced_key},
    flow_list::ServiceNames,
};
use crate::{
    admin::{
        DecisionStatus, Endpoint, Envelope, FlowKnown, FlowState, FlowTraits, Network, Selector,
        TraceLine, TraceQuery, Transport,
    },
    datapath::{Events, Tracer, Watcher},
};

/// Lines under way to the client. Further decisions wait in the kernel's queue.
const LINES: usize = 256;
/// Between two reports of lost decisions. Sending one also detects that the client has left.
const BEAT: Duration = Duration::from_secs(1);

/// What a trace asks of the event loop, which owns the interfaces.
pub(crate) enum TraceStep {
    /// Attach the tracing program in place of the usual one.
    Begin(Tracer, oneshot::Sender<Result<(), String>>),
    /// Attach the usual program again.
    End,
}

pub(crate) type TraceEnvelope = Envelope<TraceQuery, mpsc::Receiver<TraceLine>>;

/// Traces until the client leaves.
pub(crate) async fn trace(
    watcher: Arc<Watcher>,
    names: ServiceNames,
    asked: TraceEnvelope,
    steps: mpsc::Sender<TraceStep>,
) {
    let Envelope { request: query, reply: done } = asked;
    if let Err(error) = names.check(&query.selector) {
        return drop(done.send(Err(error)));
    }
    let filter = filter(&query);
    let prepared = {
        let watcher = watcher.clone();
        task::spawn_blocking(move || watcher.prepare(filter)).await
    };
    let (tracer, events) = match prepared.map_err(anyhow::Error::from) {
        Ok(Ok(Some(prepared))) => prepared,
        Ok(Ok(None)) => {
            return drop(done.send(Err("another trace is running: one at a time".to_owned())));
        }
        Ok(Err(error)) => {
            let error = anyhow::Error::from(error);
            return drop(done.send(Err(format!("cannot trace: {error:#}"))));
        }
        Err(error) => return drop(done.send(Err(format!("cannot trace: {error:#}")))),
    };
    let (begun, ready) = oneshot::channel();
    let sent = steps.send(TraceStep::Begin(tracer, begun)).await;
    let ready = match sent {
        Ok(()) => ready.await.unwrap_or_else(|_| Err("the daemon is ending".to_owned())),
        Err(_) => Err("the daemon is ending".to_owned()),
    };
    let mut events = Some(events);
    match ready {
        Ok(()) => {
            let (lines, receiver) = mpsc::channel(LINES);
            if done.send(Ok(receiver)).is_ok() {
                events = forward_events(events.take(), &names, &query.selector, &lines).await;
            }
        }
        Err(error) => drop(done.send(Err(error))),
    }
    let _ = steps.send(TraceStep::End).await;
    if let Some(events) = events {
        watcher.return_events(events);
    }
}

async fn forward_events(
    events: Option<Events>,
    names: &ServiceNames,
    selector: &Selector,
    lines: &mpsc::Sender<TraceLine>,
) -> Option<Events> {
    let mut events = events?.watch().ok()?;
    let mut beat = time::interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let line = select! {
            () = lines.closed() => break,
            _ = beat.tick() => match events.get_ref().lost() {
                Ok(lost) => TraceLine::Lost(lost),
                Err(_) => break,
            },
            ready = events.readable_mut() => {
                let Ok(mut ready) = ready else { break };
                let Some(decision) = ready.get_inner_mut().take() else {
                    ready.clear_ready();
                    continue;
                };
                let status = status(&decision, traced_key(&decision).as_ref(), names);
                if !is_wanted(selector, &status) {
                    continue;
                }
                TraceLine::Decision(Box::new(status))
            }
        };
        if lines.send(line).await.is_err() {
            break;
        }
    }
    Some(events.into_inner())
}

/// Applies the selector exactly; the kernel's filter is coarse.
fn is_wanted(selector: &Selector, status: &DecisionStatus) -> bool {
    let from_backend =
        status.backend.is_some() && status.backend == status.from && status.source == status.to;
    // The kernel matched client and address. A backend's packet does not carry them.
    let selector = match from_backend {
        true => &Selector { client: None, vip: None, ..selector.clone() },
        false => selector,
    };
    let services = status.service.iter().chain(&status.sharing);
    let wanted = services.into_iter().find(|name| selector.service.as_ref() == Some(name));
    selector.takes(&FlowTraits {
        client: status.from,
        vip: status.to,
        backend: status.backend,
        service: wanted.or(status.service.as_ref()).map(String::as_str),
        protocol: status.protocol,
        state: match status.flow {
            FlowKnown::None => None,
            _ if status.closing => Some(FlowState::Closed),
            FlowKnown::New | FlowKnown::HalfOpen => Some(FlowState::HalfOpen),
            FlowKnown::Promoted | FlowKnown::Established => Some(FlowState::Established),
        },
    })
}

/// Returns the part of the query that the kernel can filter cheaply.
fn filter(query: &TraceQuery) -> TraceFilter {
    let Selector { client, vip, backend, protocol, .. } = &query.selector;
    let address =
        |end: &Option<Endpoint>| end.map_or(Address::default(), |end| Address::of(end.address));
    let port = |end: &Option<Endpoint>| end.and_then(|end| end.port).unwrap_or(0).to_be_bytes();
    let (client, client_mask) = client.map_or_else(Default::default, |Network(network)| {
        // IPv4 lies in the last 32 of 128 bits; the others must be as in every IPv4 address.
        let above = 128 - network.max_prefix_len();
        let length = u32::from(above + network.prefix_len());
        let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
        (Address::of(network.network()), Address::v6(mask.to_be_bytes()))
    });
    TraceFilter {
        client,
        client_mask,
        vip: address(vip),
        backend: address(backend),
        vip_port: port(vip),
        backend_port: port(backend),
        protocol: match protocol {
            Some(Transport::Tcp) => TCP,
            Some(Transport::Udp) => UDP,
            // ICMP has one number for each family.
            Some(Transport::Icmp) | None => 0,
        },
        sample: query.sample,
        pad: 0,
    }
}
