//! Who is served at once, who waits, and who is turned away.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http_body_util::{BodyExt as _, Empty};
use hyper::{Response, body::Bytes};
use tokio::{net::TcpStream, sync::Semaphore};

use crate::proxy::tests::actors::{
    backend::{self, Listening},
    client::{self, A_MOMENT, Raw, http2},
    lab::{Lab, PATIENCE, Plan, Start},
};
use crate::service::{ConcurrencyKind, HttpOptions, Queue, ServiceLimits};

/// A server that notes the paths it is asked for, and answers each when it is let.
struct Gated {
    server: Listening,
    gate: Arc<Semaphore>,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Gated {
    async fn start() -> Self {
        let (gate, seen) = (Arc::new(Semaphore::new(0)), Arc::<Mutex<Vec<_>>>::default());
        let (held, noted) = (gate.clone(), seen.clone());
        let server = backend::http(move |request| {
            let (held, noted) = (held.clone(), noted.clone());
            async move {
                noted.lock().unwrap().push(request.uri().path().to_owned());
                held.acquire().await.unwrap().forget();
                let _ = request.into_body().collect().await;
                Response::new(backend::full("done"))
            }
        })
        .await;
        Self { server, gate, seen }
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

const QUEUE: Queue = Queue { length: 100, timeout: PATIENCE };

/// Two workers: what is shared is shared by both.
fn start(plan: Plan) -> Lab {
    let mut start = Start::new(plan);
    start.workers = 2;
    start.start()
}

fn asking(lab: &Lab, path: String) -> tokio::task::JoinHandle<(String, Option<String>)> {
    let address = lab.address;
    tokio::spawn(async move {
        let reply = Raw::connect(address).await.get(&path, "").await;
        (reply.status().to_owned(), reply.header("fly-error").map(str::to_owned))
    })
}

/// Asks for `/0`, `/1`, …, each when the one before is waited for or served.
async fn in_turn(
    lab: &Lab,
    count: usize,
) -> Vec<tokio::task::JoinHandle<(String, Option<String>)>> {
    let mut asked = vec![];
    for number in 0..count {
        asked.push(asking(lab, format!("/{number}")));
        lab.until("it was taken", |lab| lab.tally().0 > number as u64).await;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    asked
}

#[tokio::test]
async fn who_finds_the_backend_full_waits_in_turn() {
    let backend = Gated::start().await;
    let mut plan = Plan::http(&[backend.server.address]);
    (plan.hard_limit, plan.queue) = (Some(2), QUEUE);
    let lab = start(plan);
    let asked = in_turn(&lab, 20).await;
    tokio::time::sleep(A_MOMENT).await;
    assert_eq!(lab.counts(), [2], "no more than the limit at a time");
    assert_eq!(backend.seen().len(), 2);
    for served in 3..=20 {
        backend.gate.add_permits(1);
        lab.until("the next is served", |_| backend.seen().len() == served).await;
        assert_eq!(lab.counts(), [2]);
    }
    backend.gate.add_permits(2);
    for asked in asked {
        assert_eq!(asked.await.unwrap(), ("200".to_owned(), None));
    }
    let order: Vec<_> = (0..20).map(|number| format!("/{number}")).collect();
    assert_eq!(backend.seen()[2..], order[2..]);
    lab.finish().await;
}

#[tokio::test]
async fn a_service_has_limits_of_its_own() {
    let backend = Gated::start().await;
    let mut plan = Plan::http(&[backend.server.address]);
    plan.limits = Some(ServiceLimits { soft_limit: 1, hard_limit: 3 });
    plan.queue = QUEUE;
    let lab = start(plan);
    let mut asked = in_turn(&lab, 5).await;
    for refused in asked.drain(3..) {
        let full = Some("service-full".to_owned());
        assert_eq!(refused.await.unwrap(), ("503".to_owned(), full), "two wait, and no more");
    }
    assert_eq!(backend.seen(), ["/0"], "one at a time");
    backend.gate.add_permits(3);
    for asked in asked {
        assert_eq!(asked.await.unwrap().0, "200");
    }
    assert_eq!(backend.seen(), ["/0", "/1", "/2"]);
    lab.finish().await;
}

#[tokio::test]
async fn the_queue_has_a_length_and_a_patience() {
    let backend = Gated::start().await;
    let mut plan = Plan::http(&[backend.server.address]);
    plan.hard_limit = Some(1);
    plan.queue = Queue { length: 1, timeout: A_MOMENT };
    let lab = start(plan);
    let served = asking(&lab, "/".into());
    lab.until("the first is served", |_| backend.seen().len() == 1).await;
    let waiting = asking(&lab, "/".into());
    lab.until("the second was taken", |lab| lab.tally().0 == 2).await;
    let mut third = Raw::connect(lab.address).await;
    let refused = third.get("/", "").await;
    // Which of the two was first in line is theirs to find out.
    let (status, why) = waiting.await.unwrap();
    let mut reasons = [why.unwrap(), refused.header("fly-error").unwrap().to_owned()];
    reasons.sort();
    assert_eq!((&*status, refused.status()), ("503", "503"));
    assert!(reasons.contains(&"queue-timeout".to_owned()), "{reasons:?}");
    assert_eq!(refused.header("retry-after"), Some("1"));
    backend.gate.add_permits(1);
    assert_eq!(served.await.unwrap().0, "200");
    drop(third);
    lab.finish().await;
}

#[tokio::test]
async fn what_others_hold_counts_and_its_end_is_noticed() {
    let backend = backend::saying("hello").await;
    let mut plan = Plan::http(&[backend.address]);
    (plan.hard_limit, plan.queue) = (Some(1), QUEUE);
    let lab = start(plan);
    // As the kernel counts a flow to the same backend.
    lab.load.correct(lab.services[0].backends[0].slot, 1);
    let waiting = asking(&lab, "/".into());
    lab.until("it was taken", |lab| lab.tally().0 == 1).await;
    tokio::time::sleep(A_MOMENT).await;
    assert!(!waiting.is_finished());
    lab.load.correct(lab.services[0].backends[0].slot, -1);
    assert_eq!(waiting.await.unwrap().0, "200");
    lab.finish().await;
}

#[tokio::test]
async fn who_wants_one_full_instance_holds_nobody_else_up() {
    let backends = [backend::saying("one").await, backend::saying("two").await];
    let mut plan = Plan::http(&[backends[0].address, backends[1].address]);
    plan.places = vec![("", "m-1"), ("", "m-2")];
    (plan.hard_limit, plan.queue) = (Some(1), QUEUE);
    let lab = start(plan);
    let held = lab.services[0].backends[0].slot;
    lab.load.correct(held, 1);
    let mut forced = vec![];
    for number in 1..=3 {
        let address = lab.address;
        forced.push(tokio::spawn(async move {
            let mut client = Raw::connect(address).await;
            client.get("/", "Fly-Force-Instance-Id: m-1\r\n").await.body
        }));
        lab.until("it was taken", |lab| lab.tally().0 == number).await;
    }
    for _ in 0..5 {
        let reply = Raw::connect(lab.address).await.get("/", "").await;
        assert_eq!((reply.status(), &*reply.body), ("200", "two"));
    }
    assert!(forced.iter().all(|asked| !asked.is_finished()));
    lab.load.correct(held, -1);
    for asked in forced {
        assert_eq!(asked.await.unwrap(), "one");
    }
    lab.finish().await;
}

#[tokio::test]
async fn connections_wait_and_are_closed() {
    let backend = backend::mirror().await;
    let mut plan = Plan {
        handlers: vec![crate::service::Handler::ProxyProto],
        proxy_proto: Some(crate::service::ProxyProtocol::V1),
        ..Plan::http(&[backend.address])
    };
    plan.limits = Some(ServiceLimits { soft_limit: 1, hard_limit: 2 });
    plan.queue = QUEUE;
    let lab = start(plan);
    let mut first = Raw::connect(lab.address).await;
    assert_eq!(first.take(6).await, b"PROXY ");
    let mut second = Raw::connect(lab.address).await;
    lab.until("the second was taken", |lab| lab.tally().0 == 2).await;
    tokio::time::sleep(A_MOMENT).await;
    let mut third = Raw::connect(lab.address).await;
    assert!(third.rest().await.is_empty(), "there is room for two");
    assert_eq!(backend.accepted(), 1);
    drop(first);
    assert_eq!(second.take(6).await, b"PROXY ");
    drop((second, third));
    lab.finish().await;
}

/// Asks for five paths at once over one connection, by HTTP/2 to a backend that
/// speaks it; what the backend's count is when all that may have reached it.
async fn counted(counts: ConcurrencyKind, reach: usize) -> Vec<u64> {
    let (gate, seen) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
    let (held, noted) = (gate.clone(), seen.clone());
    let backend = backend::h2c(move |_| {
        let held = held.clone();
        noted.fetch_add(1, Ordering::SeqCst);
        async move {
            held.acquire().await.unwrap().forget();
            Response::new(backend::full("done"))
        }
    })
    .await;
    let http = HttpOptions { h2_backend: true, ..HttpOptions::default() };
    let mut plan = Plan { http, counts, ..Plan::http(&[backend.address]) };
    (plan.hard_limit, plan.queue) = (Some(2), QUEUE);
    let lab = Start::new(plan).start();
    let sender = http2(TcpStream::connect(lab.address).await.unwrap()).await;
    let asked = (0..5).map(|number| {
        let mut sender = sender.clone();
        let request = client::request(&format!("/{number}"), Empty::<Bytes>::new());
        tokio::spawn(async move { sender.send_request(request).await.unwrap().status() })
    });
    let asked: Vec<_> = asked.collect();
    lab.until("all were taken", |lab| lab.tally().0 == 5).await;
    lab.until("they reach the backend", |_| seen.load(Ordering::SeqCst) == reach).await;
    tokio::time::sleep(A_MOMENT).await;
    assert_eq!(seen.load(Ordering::SeqCst), reach, "no more than may");
    let counts = lab.counts();
    gate.add_permits(5);
    for asked in asked {
        assert_eq!(asked.await.unwrap(), 200);
    }
    lab.finish().await;
    counts
}

#[tokio::test]
async fn requests_over_one_connection_count_each_where_requests_are_counted() {
    assert_eq!(counted(ConcurrencyKind::Requests, 2).await, [2]);
}

#[tokio::test]
async fn requests_over_one_connection_count_once_where_connections_are_counted() {
    assert_eq!(counted(ConcurrencyKind::Connections, 5).await, [1]);
}

#[tokio::test]
async fn each_connection_to_a_backend_counts_where_connections_are_counted() {
    let backend = Gated::start().await;
    let mut plan = Plan::http(&[backend.server.address]);
    (plan.counts, plan.hard_limit, plan.queue) = (ConcurrencyKind::Connections, Some(2), QUEUE);
    let lab = start(plan);
    let asked = in_turn(&lab, 3).await;
    lab.until("two are served", |_| backend.seen().len() == 2).await;
    assert_eq!(lab.counts(), [2]);
    backend.gate.add_permits(3);
    for asked in asked {
        assert_eq!(asked.await.unwrap().0, "200");
    }
    // Kept ones carry nothing.
    lab.until("none is in use", |lab| lab.counts() == [0]).await;
    lab.finish().await;
}
