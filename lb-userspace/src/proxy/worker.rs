//! One worker: a thread with its own runtime, listener, pools and random numbers.

use std::{
    cell::RefCell,
    io,
    net::{SocketAddr, TcpListener as StdListener},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use arc_swap::{ArcSwap, Cache};
use hyper::header::HeaderValue;
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::{self, LocalOptions},
    select,
    sync::watch,
    task::spawn_local,
    time::{Instant, sleep},
};

use super::{
    descriptors::Descriptors,
    drain::{Drain, Phase},
    handshakes::Handshakes,
    headers::Names,
    postgres::Cancels,
    privacy::Ingress,
    purge,
    routes::Routes,
    serve, splice,
    upstreams::Upstreams,
};
use crate::{lack::Undone, load::Load, settings::ProxySettings};

/// What workers share: nothing that is locked while requests are served.
#[derive(Clone)]
pub(super) struct Shared {
    pub settings: Arc<ProxySettings>,
    pub names: Arc<Names>,
    pub region: Option<HeaderValue>,
    pub routes: Arc<ArcSwap<Routes>>,
    pub load: Load,
    pub ingress: Ingress,
    pub cancels: Arc<Cancels>,
    pub handshakes: Arc<Handshakes>,
    pub descriptors: Arc<Descriptors>,
}

/// A worker's own state, and its handles to what is shared.
pub(super) struct Worker {
    pub settings: Arc<ProxySettings>,
    pub names: Arc<Names>,
    pub region: Option<HeaderValue>,
    pub ingress: Ingress,
    pub cancels: Arc<Cancels>,
    pub handshakes: Arc<Handshakes>,
    pub descriptors: Arc<Descriptors>,
    pub upstreams: Rc<Upstreams>,
    pub drain: Rc<Drain>,
    routes: RefCell<Cache<Arc<ArcSwap<Routes>>, Arc<Routes>>>,
}

impl Worker {
    pub fn new(shared: Shared) -> Rc<Self> {
        let settings = shared.settings;
        let descriptors = shared.descriptors.clone();
        let upstreams = Upstreams::new(settings.clone(), shared.load, descriptors);
        Rc::new(Self {
            settings,
            names: shared.names,
            region: shared.region,
            ingress: shared.ingress,
            cancels: shared.cancels,
            handshakes: shared.handshakes,
            descriptors: shared.descriptors,
            upstreams: Rc::new(upstreams),
            drain: Rc::default(),
            routes: RefCell::new(Cache::new(shared.routes)),
        })
    }

    /// Asks the routes that apply now.
    pub fn with_routes<T>(&self, ask: impl FnOnce(&Routes) -> T) -> T {
        ask(self.routes.borrow_mut().load())
    }
}

/// Serves `listener` on the calling thread until `phase` says [`Phase::Cut`], or
/// [`Phase::Draining`] and no connection is left.
pub(super) fn run(
    listener: StdListener,
    shared: Shared,
    phase: watch::Receiver<Phase>,
) -> io::Result<()> {
    splice::stay_below(shared.descriptors.ceiling);
    let runtime =
        runtime::Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    let result = runtime.block_on(async {
        let listener = TcpListener::from_std(listener)?;
        serve_until_drained(Worker::new(shared), listener, phase.clone()).await
    });
    // What is left is cut off here, and counted out, while `phase` still says that we live.
    drop(runtime);
    drop(phase);
    result
}

async fn serve_until_drained(
    worker: Rc<Worker>,
    listener: TcpListener,
    mut phase: watch::Receiver<Phase>,
) -> io::Result<()> {
    let (pools, http2) = (worker.upstreams.pools.clone(), worker.upstreams.http2.clone());
    let idle = worker.settings.upstream_idle_timeout;
    spawn_local(async move { pools.keep_swept().await });
    spawn_local(async move { http2.keep_swept(idle).await });
    spawn_local(purge::keep_purged(worker.drain.clone()));
    select! {
        () = accept(&worker, &listener) => {}
        _ = phase.wait_for(|phase| *phase != Phase::Serving) => {}
    }
    accept_rest(&worker, listener.into_std()?)?;
    worker.drain.begin();
    select! {
        () = worker.drain.emptied() => {}
        _ = phase.wait_for(|phase| *phase == Phase::Cut) => {}
    }
    Ok(())
}

async fn accept(worker: &Rc<Worker>, listener: &TcpListener) {
    let mut warned = None;
    loop {
        worker.descriptors.room(listener).await;
        match listener.accept().await {
            Ok((stream, peer)) => {
                admit(worker, stream, peer);
            }
            Err(error) => back_off(worker, &error, &mut warned).await,
        }
    }
}

fn admit(worker: &Rc<Worker>, stream: TcpStream, peer: SocketAddr) {
    // Counted here, not when the task first runs: draining must not overlook it.
    let live = worker.drain.enter();
    let place = worker.descriptors.enter(&stream);
    let served = serve::connection(worker.clone(), stream, peer);
    spawn_local(async move {
        served.await;
        drop((live, place));
    });
}

/// Connections that completed their handshake before the listener closes would be reset.
fn accept_rest(worker: &Rc<Worker>, listener: StdListener) -> io::Result<()> {
    loop {
        if !worker.descriptors.has_room(&listener) {
            return Ok(());
        }
        match listener.accept() {
            Ok((stream, peer)) => {
                stream.set_nonblocking(true)?;
                admit(worker, TcpStream::from_std(stream)?, peer);
            }
            Err(_) => return Ok(()),
        }
    }
}

/// A client that gave up before it was accepted is no reason to wait; missing descriptors or
/// memory are, for others may give some back.
async fn back_off(worker: &Worker, error: &io::Error, warned: &mut Option<Instant>) {
    const PAUSE: Duration = Duration::from_millis(20);
    const BETWEEN_WARNINGS: Duration = Duration::from_secs(1);
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    if matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted) {
        return;
    }
    worker.descriptors.lacks.note(Undone::Accept);
    if warned.is_none_or(|at| at.elapsed() >= BETWEEN_WARNINGS) {
        *warned = Some(Instant::now());
        tracing::warn!(%error, "cannot accept connections");
    }
    sleep(PAUSE).await;
}
