//! A worker's thread: its runtime, and the loop that accepts connections until the proxy drains.

use std::{
    io,
    net::{SocketAddr, TcpListener as StdListener},
    rc::Rc,
    time::Duration,
};

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
    worker::{SharedState, Worker},
};
use crate::exhaustion::FailedOperation;
use crate::proxy::net::{descriptors, drain::Phase, memory_purge};

/// Serves `listener` on the calling thread until `phase` says [`Phase::Cut`], or
/// [`Phase::Draining`] and no connection is left.
pub(crate) fn run(
    listener: StdListener,
    shared: SharedState,
    phase: watch::Receiver<Phase>,
) -> io::Result<()> {
    descriptors::stay_below(shared.descriptors.ceiling);
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
    let (pools, http2) = (worker.upstreams.h1_pool.clone(), worker.upstreams.h2_pool.clone());
    let idle = worker.settings.upstream_idle_timeout;
    spawn_local(async move { pools.keep_swept().await });
    spawn_local(async move { http2.keep_swept(idle).await });
    let (descriptors, upstreams) = (worker.descriptors.clone(), worker.upstreams.clone());
    spawn_local(async move { descriptors.keep_giving(|| upstreams.close_idle()).await });
    spawn_local(memory_purge::keep_purged(worker.drain.clone()));
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
async fn back_off(worker: &Worker, error: &io::Error, warned: &mut Option<Instant>) {
    const PAUSE: Duration = Duration::from_millis(20);
    const BETWEEN_WARNINGS: Duration = Duration::from_secs(1);
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    if matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted) {
        return;
    }
    worker.descriptors.exhaustion.note(FailedOperation::Accept);
    if warned.is_none_or(|at| at.elapsed() >= BETWEEN_WARNINGS) {
        *warned = Some(Instant::now());
        tracing::warn!(%error, "cannot accept connections");
    }
    sleep(PAUSE).await;
}
