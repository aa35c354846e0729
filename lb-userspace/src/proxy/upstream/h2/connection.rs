//! One connection to a server, and how many streams it has room for.

use std::{
    cell::{Cell, OnceCell, RefCell},
    future::{Future, poll_fn},
    net::SocketAddr,
    pin::{Pin, pin},
    rc::{Rc, Weak},
    time::Duration,
};

use hyper::{
    client::conn::http2::{Builder, Connection as Driver, SendRequest},
    rt::Executor,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::TcpStream,
    sync::Notify,
    task::spawn_local,
    time::{Instant, timeout},
};

use super::uploads::Uploads;
use crate::proxy::{
    downstream::request_body::RequestBody, http::fault::Fault, upstream::dialer::Dialer,
};

/// The largest header section of a response, in bytes.
const MAX_HEADER: u32 = 64 * 1024;
/// Streams at a time on one connection; its server may allow fewer.
const STREAMS: usize = 100;
/// What a server may send on a stream before the client takes it.
const STREAM_WINDOW: u32 = 256 * 1024;
/// All streams together: clients that take nothing leave the others their room.
const CONNECTION_WINDOW: u32 = STREAMS as u32 * STREAM_WINDOW;
/// What waits on a stream for a server that does not take it.
const SEND_BUFFER: usize = 64 * 1024;
/// Streams in a connection's life, which has numbers for no more than four times as many.
const LIFE: u32 = 1 << 28;

type Drive = Driver<TokioIo<TcpStream>, RequestBody, Beside>;

pub(crate) struct H2Connection {
    sender: SendRequest<RequestBody>,
    link: Rc<Link>,
    /// Keeps what `link` looks at.
    _driver: Rc<RefCell<Drive>>,
    /// Streams that are open.
    streams: Cell<usize>,
    /// Streams that there may be. The server may say less, or have shown that it takes less.
    most: Cell<usize>,
    /// Streams that there may be in the rest of its life.
    left: Cell<u32>,
    used: Cell<Instant>,
    pub uploads: Uploads,
}

/// Between a connection and the tasks that drive it.
#[derive(Default)]
struct Link {
    driver: OnceCell<Weak<RefCell<Drive>>>,
    /// Streams that the server allows, when last looked at.
    allowed: Cell<usize>,
    has_ended: Cell<bool>,
    /// Either of these has changed: for whoever opens the connection, and whoever waits for a
    /// stream.
    news: Notify,
    waiting: Rc<Notify>,
}

impl Link {
    /// What the server allows by now. hyper says it, but tells nobody when it changes.
    fn look(&self) {
        let Some(driver) = self.driver.get().and_then(Weak::upgrade) else { return };
        if let Ok(driver) = driver.try_borrow() {
            let allowed = driver.current_max_send_streams();
            if self.allowed.replace(allowed) != allowed {
                self.tell();
            }
        }
    }

    fn end(&self) {
        self.has_ended.set(true);
        self.tell();
    }

    fn tell(&self) {
        self.news.notify_waiters();
        self.waiting.notify_waiters();
    }
}

/// Runs what hyper spawns for a connection, and looks after each round whether the server has said
/// how many streams it takes.
#[derive(Clone)]
struct Beside(Rc<Link>);

impl<F: Future + 'static> Executor<F> for Beside {
    fn execute(&self, future: F) {
        let link = self.0.clone();
        // Boxed: on its way into a task it would be moved several times.
        let mut future = Box::pin(future);
        spawn_local(async move {
            poll_fn(|cx| {
                let polled = future.as_mut().poll(cx);
                link.look();
                polled
            })
            .await;
        });
    }
}

impl H2Connection {
    /// Opens one and awaits the server's settings: only they say how many requests may be sent, and
    /// that it speaks HTTP/2. Whoever waits for a stream is told of every change.
    pub(crate) async fn open(
        dialer: &Dialer,
        address: SocketAddr,
        waiting: Rc<Notify>,
    ) -> Result<Rc<Self>, Fault> {
        let stream = dialer.dial(address).await?;
        let opened = Self::over(stream, address, dialer.settings.idle_timeout, waiting).await?;
        let greeted = timeout(dialer.settings.dial_timeout, opened.greeted()).await;
        greeted.map_err(|_| Fault::SlowDial)??;
        Ok(opened)
    }

    async fn over(
        stream: TcpStream,
        address: SocketAddr,
        idle: Duration,
        waiting: Rc<Notify>,
    ) -> Result<Rc<Self>, Fault> {
        let link = Rc::new(Link { waiting, ..Link::default() });
        let opened = Builder::new(Beside(link.clone()))
            .timer(TokioTimer::new())
            .keep_alive_interval(idle)
            .max_header_list_size(MAX_HEADER)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            // Until the server has said how many it takes.
            .initial_max_send_streams(0)
            .handshake(TokioIo::new(stream));
        let (sender, driver) = opened.await.map_err(|_| Fault::Unreachable)?;
        let driver = Rc::new(RefCell::new(driver));
        let _ = link.driver.set(Rc::downgrade(&driver));
        let (driven, linked) = (driver.clone(), link.clone());
        spawn_local(async move {
            let ended = poll_fn(|cx| Pin::new(&mut *driven.borrow_mut()).poll(cx)).await;
            if let Err(error) = ended {
                tracing::debug!(backend = %address, %error, "connection to backend ended");
            }
            linked.end();
        });
        Ok(Rc::new(Self {
            sender,
            link,
            _driver: driver,
            streams: Cell::new(0),
            most: Cell::new(STREAMS),
            left: Cell::new(LIFE),
            used: Cell::new(Instant::now()),
            uploads: Uploads::default(),
        }))
    }

    async fn greeted(&self) -> Result<(), Fault> {
        loop {
            let mut news = pin!(self.link.news.notified());
            news.as_mut().enable();
            if self.is_closed() {
                return Err(Fault::Closed);
            }
            if self.link.allowed.get() > 0 {
                return Ok(());
            }
            news.await;
        }
    }

    pub(crate) fn sender(&self) -> SendRequest<RequestBody> {
        self.sender.clone()
    }

    /// Streams that it can carry at a time.
    pub(crate) fn capacity(&self) -> usize {
        self.link.allowed.get().min(self.most.get())
    }

    pub(crate) fn has_room(&self) -> bool {
        !self.is_closed() && self.left.get() > 0 && self.streams.get() < self.capacity()
    }

    fn is_closed(&self) -> bool {
        self.link.has_ended.get() || self.sender.is_closed()
    }

    pub(crate) fn is_used(&self) -> bool {
        self.streams.get() > 0
    }

    /// Whether it may be asked for streams again; one that may not is let go of.
    pub(crate) fn is_of_use(&self, idle: Duration) -> bool {
        let is_idle = self.streams.get() == 0 && self.used.get().elapsed() >= idle;
        !self.is_closed() && !is_idle && self.most.get() > 0 && self.left.get() > 0
    }

    /// The server refused a stream: it takes no more than the others.
    pub(crate) fn refused(&self) {
        let others = self.streams.get().saturating_sub(1);
        self.most.set(self.most.get().min(others));
    }

    /// It carries what it carries, and nothing else.
    pub(crate) fn end(&self) {
        self.most.set(0);
    }

    /// A stream begins; whether there were others.
    pub(crate) fn enter(&self) -> bool {
        self.streams.set(self.streams.get() + 1);
        self.used.set(Instant::now());
        self.left.replace(self.left.get() - 1) < LIFE
    }

    pub(crate) fn leave(&self) {
        self.streams.set(self.streams.get() - 1);
        self.used.set(Instant::now());
    }
}
