//! A worker's thread: its runtime, and the loop that accepts connections until the proxy drains.

use std::{
    io,
    net::{SocketAddr, TcpListener as StdListener},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use futures_util::future::join_all;
use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::{self, LocalOptions},
    select,
    sync::watch,
    task::spawn_local,
    time::{Instant, sleep},
};

use super::{
    connection,
    worker::{CurrentWorker, SharedState, Worker, WorkerSettings},
};
use crate::exhaustion::FailedOperation;
use crate::proxy::{
    net::{
        descriptors::{self, Descriptors},
        drain::{DrainManner, Phase},
        listener::notice_loss,
        memory_purge,
    },
    upstream::upstreams::Upstreams,
};

/// Serves `listeners` on the calling thread until `phase` says [`Phase::Cut`], or that the worker
/// drains and no connection is left.
pub(crate) fn run(
    listeners: Vec<StdListener>,
    shared: SharedState,
    phase: watch::Receiver<Phase>,
) -> io::Result<()> {
    descriptors::stay_below(shared.descriptors.ceiling);
    let runtime =
        runtime::Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    let result = runtime.block_on(async {
        let listeners = listeners.into_iter().map(TcpListener::from_std);
        let listeners = listeners.collect::<io::Result<_>>()?;
        serve_until_drained(shared, listeners, phase.clone()).await
    });
    // What is left is cut off here, and counted out, while `phase` still says that we live.
    drop(runtime);
    drop(phase);
    result
}

async fn serve_until_drained(
    shared: SharedState,
    listeners: Vec<TcpListener>,
    mut phase: watch::Receiver<Phase>,
) -> io::Result<()> {
    let (settings, news) = (shared.settings.clone(), shared.news.clone());
    let worker = Worker::new(shared);
    let count = worker.count.clone();
    spawn_upkeep(&worker);
    spawn_local(follow_news(worker.clone(), news));
    let worker = CurrentWorker::new(worker);
    select! {
        _ = join_all(listeners.iter().map(|listener| accept(&worker, listener))) => {}
        () = follow_settings(&worker, &listeners, settings) => {}
        _ = phase.wait_for(|phase| *phase != Phase::Serving) => {}
    }
    let manner = match *phase.borrow() {
        Phase::HandedOver => DrainManner::Gently,
        _ => DrainManner::AtOnce,
    };
    for listener in listeners {
        let listener = listener.into_std()?;
        if manner == DrainManner::AtOnce {
            accept_rest(&worker.get(), listener)?;
        }
    }
    worker.get().drain_all(manner);
    select! {
        () = count.emptied() => {}
        _ = phase.wait_for(|phase| *phase == Phase::Cut) => {}
    }
    Ok(())
}

/// Starts what a worker does from time to time.
fn spawn_upkeep(worker: &Worker) {
    let Upstreams { h1_pool, h2_pool, .. } = &*worker.upstreams;
    let (pools, http2) = (h1_pool.clone(), h2_pool.clone());
    spawn_local(async move { pools.keep_swept().await });
    let pools = h1_pool.clone();
    spawn_local(async move { http2.keep_swept(|| pools.idle_timeout()).await });
    let (descriptors, upstreams) = (worker.descriptors.clone(), worker.upstreams.clone());
    spawn_local(async move { descriptors.keep_giving(|| upstreams.close_idle()).await });
    spawn_local(memory_purge::keep_purged(worker.count.clone()));
}

/// Tells open connections what concerns them, for ever.
async fn follow_news(worker: Rc<Worker>, mut news: watch::Receiver<()>) {
    while news.changed().await.is_ok() {
        worker.drain_removed();
        worker.upstreams.expulsions.notify_waiters();
    }
}

/// Has new connections go by changed settings.
async fn follow_settings(
    worker: &CurrentWorker,
    listeners: &[TcpListener],
    mut settings: watch::Receiver<Arc<WorkerSettings>>,
) {
    while settings.changed().await.is_ok() {
        let settings = settings.borrow_and_update().clone();
        for listener in listeners {
            if let Err(error) = notice_loss(&SockRef::from(listener), &settings.proxy.keepalive) {
                tracing::warn!(%error, "new connections keep the former TCP keep-alive");
            }
        }
        worker.configure(&settings);
    }
    // The proxy ends.
    std::future::pending::<()>().await;
}

async fn accept(worker: &CurrentWorker, listener: &TcpListener) {
    let mut warned = None;
    loop {
        let descriptors = worker.get().descriptors.clone();
        descriptors.room(listener).await;
        match listener.accept().await {
            Ok((stream, peer)) => admit(&worker.get(), stream, peer),
            Err(error) => back_off(&descriptors, &error, &mut warned).await,
        }
    }
}

fn admit(worker: &Rc<Worker>, stream: TcpStream, peer: SocketAddr) {
    // Counted here, not when the task first runs: draining must not overlook it.
    let live = worker.count.enter();
    let place = worker.descriptors.enter(&stream);
    let served = connection::connection(worker.clone(), stream, peer);
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
async fn back_off(descriptors: &Descriptors, error: &io::Error, warned: &mut Option<Instant>) {
    const PAUSE: Duration = Duration::from_millis(20);
    const BETWEEN_WARNINGS: Duration = Duration::from_secs(1);
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    if matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted) {
        return;
    }
    descriptors.exhaustion.note(FailedOperation::Accept);
    if warned.is_none_or(|at| at.elapsed() >= BETWEEN_WARNINGS) {
        *warned = Some(Instant::now());
        tracing::warn!(%error, "cannot accept connections");
    }
    sleep(PAUSE).await;
}
