//! Whose turn it is when a place becomes free, and that nobody waits for a clock to tell.

use std::{
    future::Future,
    net::{IpAddr, Ipv4Addr},
    pin::Pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use arc_swap::ArcSwap;

use crate::proxy::tests::actors::lab::{PATIENCE, Plan, run, settings};
use crate::proxy::{
    CertificateStore, Routes,
    http::{fault::Fault, headers::HeaderNames},
    net::descriptors::Descriptors,
    routing::{
        admission::{Admission, PickContext},
        routes::Site,
    },
    server::worker::{SharedState, Worker, WorkerSettings},
};
use crate::{
    balance::{PickRequest, Preference},
    fleet::Fleet,
    load::{Load, Tick},
    service::Queue,
    settings::Geography,
};

type Admitted = Result<(usize, Admission), Fault>;

/// One that is asked for a place.
struct Waiter {
    admitted: Pin<Box<dyn Future<Output = Admitted>>>,
    calls: Arc<Calls>,
}

#[derive(Default)]
struct Calls(AtomicUsize);

impl Wake for Calls {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Waiter {
    fn new(worker: &Rc<Worker>, site: &Arc<Site>) -> Self {
        let (worker, site) = (worker.clone(), site.clone());
        let admitted = Box::pin(async move {
            let request = PickRequest {
                load: &worker.upstreams.load,
                client: IpAddr::V4(Ipv4Addr::LOCALHOST),
                tried: &[],
                now: Tick::default(),
                preference: &Preference::NONE,
                is_free: &|_| false,
            };
            let context = PickContext {
                balancer: &site.balancer,
                rng: &worker.upstreams.rng,
                counted: &|_| None,
            };
            site.admission.admit(&context, &request, None).await
        });
        Self { admitted, calls: Arc::default() }
    }

    fn poll(&mut self) -> Poll<Admission> {
        let waker = Waker::from(self.calls.clone());
        let polled = self.admitted.as_mut().poll(&mut Context::from_waker(&waker));
        polled.map(|admitted| admitted.unwrap().1)
    }

    /// How often it was called since it was last asked.
    fn calls(&self) -> usize {
        self.calls.0.swap(0, Ordering::SeqCst)
    }
}

/// A service with room for one, and two workers.
fn service() -> (Arc<Site>, [Rc<Worker>; 2]) {
    let mut plan = Plan::http(&["127.0.0.1:1".parse().unwrap()]);
    (plan.hard_limit, plan.queue) = (Some(1), Queue { length: 10, timeout: PATIENCE });
    let fleet = Fleet::new(vec![run(plan.service(0, 80), &mut 0)]);
    let (certificates, _) = CertificateStore::open(&[]);
    let routes = Routes::new(&fleet, &certificates, Geography::default(), PATIENCE).unwrap();
    let site = routes.service("service-0").unwrap().clone();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = WorkerSettings {
        proxy: Arc::new(settings()),
        names: Arc::new(HeaderNames::new("Fly-").unwrap()),
        region: None,
    };
    let shared = SharedState {
        settings: tokio::sync::watch::channel(Arc::new(settings)).1,
        news: tokio::sync::watch::channel(()).1,
        routes: Arc::new(ArcSwap::from_pointee(routes)),
        load: Load::local(1),
        ingress: |_| Ok("lo".to_owned()),
        cancel_keys: Arc::default(),
        handshakes: Arc::default(),
        descriptors: Arc::new(Descriptors::measure(&listener, 2, 0, Arc::default()).unwrap()),
    };
    (site, [Worker::new(shared.clone()), Worker::new(shared)])
}

/// The test never waits, so that the runtime's clock stands still: nothing but the release can call
/// anybody.
#[tokio::test]
async fn a_place_that_becomes_free_is_the_first_ones_at_once() {
    let (site, [one, other]) = service();
    let Poll::Ready(mut held) = Waiter::new(&one, &site).poll() else { panic!("it is empty") };
    let mut line: Vec<_> =
        [&other, &one, &other, &one].map(|worker| Waiter::new(worker, &site)).into();
    for waiter in &mut line {
        assert!(waiter.poll().is_pending());
        waiter.calls();
    }
    while !line.is_empty() {
        drop(held);
        let called: Vec<_> = line.iter().map(|waiter| waiter.calls() > 0).collect();
        assert!(called[0], "the first is called by who leaves");
        // Whoever comes later gets nothing, and neither does who is new.
        for later in &mut line[1..] {
            assert!(later.poll().is_pending());
        }
        assert!(Waiter::new(&one, &site).poll().is_pending());
        let Poll::Ready(next) = line.remove(0).poll() else { panic!("the place is free") };
        held = next;
    }
}
