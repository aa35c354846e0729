//! A worker's connections to servers: as many as its requests need streams.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    collections::HashMap,
    net::SocketAddr,
    rc::{Rc, Weak},
    time::Duration,
};

use hyper::client::conn::http2::SendRequest;
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

use super::connection::H2Connection;
use crate::proxy::{
    downstream::request_body::RequestBody, http::fault::Fault, upstream::dialer::Dialer,
};
use crate::{
    balance::Unavailable,
    load::{LoadSlot, Permit},
};

/// Connections to one server.
const MOST: usize = 256;

#[derive(Default)]
pub(crate) struct H2Pool {
    servers: RefCell<HashMap<SocketAddr, Rc<Server>>>,
    /// Where connections are what is counted: those that are in use.
    counted: RefCell<HashMap<LoadSlot, Weak<Permit>>>,
}

struct Server {
    /// The oldest first, which is used first, so that the others may grow idle.
    open: RefCell<Vec<Rc<H2Connection>>>,
    /// Connections that are being opened.
    dialling: Cell<usize>,
    /// Requests that wait for a stream without opening one.
    waiting: Cell<usize>,
    /// Streams that the latest connection carries. At first it is hoped to be enough for all.
    each: Cell<usize>,
    /// How often none could be opened, and why the last time.
    failed: Cell<(usize, Fault)>,
    news: Rc<Notify>,
}

/// A request's place on a connection, until the last clone is dropped.
#[derive(Clone)]
pub(crate) struct H2Stream(Rc<Place>);

struct Place {
    connection: Rc<H2Connection>,
    server: Rc<Server>,
    is_kept: bool,
}

impl H2Stream {
    /// The place, to be held beside.
    pub(crate) fn held(&self) -> Rc<dyn Any> {
        self.0.clone()
    }

    pub(crate) fn sender(&self) -> SendRequest<RequestBody> {
        self.0.connection.sender()
    }

    pub(crate) fn connection(&self) -> &H2Connection {
        &self.0.connection
    }

    /// Whether the connection carried other requests before.
    pub(crate) fn is_kept(&self) -> bool {
        self.0.is_kept
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connection.leave();
        if self.server.waiting.get() > 0 {
            self.server.news.notify_one();
        }
    }
}

impl H2Pool {
    /// A stream to the server at `address`, on a connection that has room or is opened for it. An
    /// upload has none beside one that stands still.
    pub(crate) async fn stream(
        &self,
        dialer: &Dialer,
        address: SocketAddr,
        is_upload: bool,
    ) -> Result<H2Stream, Fault> {
        let server = self.server(address);
        match server.free(is_upload) {
            Some(stream) => Ok(stream),
            None => Box::pin(server.wait(dialer, address, is_upload)).await,
        }
    }

    fn server(&self, address: SocketAddr) -> Rc<Server> {
        self.servers.borrow_mut().entry(address).or_insert_with(Server::new).clone()
    }

    /// Whether requests to the backend of `slot` are counted already.
    pub(crate) fn is_counted(&self, slot: LoadSlot) -> bool {
        self.counted.borrow().get(&slot).is_some_and(|permit| permit.strong_count() > 0)
    }

    pub(crate) fn counted(&self, slot: LoadSlot) -> Option<Rc<Permit>> {
        self.counted.borrow().get(&slot)?.upgrade()
    }

    /// Counts them by `permit` as long as one of them is under way.
    pub(crate) fn count(&self, slot: LoadSlot, permit: Permit) -> Rc<Permit> {
        let permit = Rc::new(permit);
        self.counted.borrow_mut().insert(slot, Rc::downgrade(&permit));
        permit
    }

    /// Lets go of connections that nobody used for `idle`, or that serve nobody any more.
    fn sweep(&self, idle: Duration) {
        self.counted.borrow_mut().retain(|_, permit| permit.strong_count() > 0);
        self.servers.borrow_mut().retain(|_, server| {
            server.open.borrow_mut().retain(|connection| connection.is_of_use(idle));
            // Whoever waits for a stream, or has one, holds it too.
            !server.open.borrow().is_empty() || Rc::strong_count(server) > 1
        });
    }

    /// Closes those that nobody uses.
    pub(crate) fn close_idle(&self) {
        for server in self.servers.borrow().values() {
            server.open.borrow_mut().retain(|connection| connection.is_used());
        }
    }

    /// Sweeps from time to time, for ever. `idle` returns how long a connection may be unused.
    pub(crate) async fn keep_swept(&self, idle: impl Fn() -> Duration) {
        const OFTEN: Duration = Duration::from_secs(1);
        loop {
            sleep(OFTEN.min(idle())).await;
            self.sweep(idle());
        }
    }
}

impl Server {
    fn new() -> Rc<Self> {
        Rc::new(Self {
            open: RefCell::default(),
            dialling: Cell::new(0),
            waiting: Cell::new(0),
            each: Cell::new(usize::MAX),
            failed: Cell::new((0, Fault::Unreachable)),
            news: Rc::default(),
        })
    }

    fn free(self: &Rc<Self>, is_upload: bool) -> Option<H2Stream> {
        let open = self.open.borrow();
        let mut with_room = open.iter().filter(|connection| connection.has_room());
        let connection = if is_upload && !self.is_at_most() {
            with_room.find(|connection| !connection.uploads.are_stalled())
        } else {
            with_room.next()
        };
        Some(self.stream(connection?.clone()))
    }

    fn stream(self: &Rc<Self>, connection: Rc<H2Connection>) -> H2Stream {
        let is_kept = connection.enter();
        H2Stream(Rc::new(Place { connection, server: self.clone(), is_kept }))
    }

    async fn wait(
        self: &Rc<Self>,
        dialer: &Dialer,
        address: SocketAddr,
        is_upload: bool,
    ) -> Result<H2Stream, Fault> {
        let (failures, _) = self.failed.get();
        let waited = timeout(dialer.settings.dial_timeout, async {
            let _waiting = Counted::new(&self.waiting);
            loop {
                let news = self.news.notified();
                if let Some(stream) = self.free(is_upload) {
                    return Some(Ok(stream));
                }
                match self.failed.get() {
                    (now, fault) if now != failures => return Some(Err(fault)),
                    _ if self.needs_another() => return None,
                    _ => news.await,
                }
            }
        });
        match waited.await {
            Ok(Some(waited)) => waited,
            Ok(None) => self.open(dialer, address).await,
            Err(_) if self.is_at_most() => Err(Unavailable::Full.into()),
            Err(_) => Err(Fault::SlowDial),
        }
    }

    /// Whether those that are being opened will not be enough for all who wait.
    fn needs_another(&self) -> bool {
        // Whoever opens one has a stream of it.
        let others = self.dialling.get().saturating_mul(self.each.get().saturating_sub(1));
        self.waiting.get() > others && !self.is_at_most()
    }

    fn is_at_most(&self) -> bool {
        self.open.borrow().len() + self.dialling.get() >= MOST
    }

    async fn open(
        self: &Rc<Self>,
        dialer: &Dialer,
        address: SocketAddr,
    ) -> Result<H2Stream, Fault> {
        let dialling = Dialling::new(self);
        let opened = H2Connection::open(dialer, address, self.news.clone()).await;
        let stream = match opened {
            Ok(connection) => {
                self.each.set(connection.capacity());
                self.open.borrow_mut().push(connection.clone());
                Ok(self.stream(connection))
            }
            Err(fault) => {
                let (failures, _) = self.failed.get();
                self.failed.set((failures + 1, fault));
                Err(fault)
            }
        };
        drop(dialling);
        stream
    }
}

/// One more, until dropped.
struct Counted<'c>(&'c Cell<usize>);

impl<'c> Counted<'c> {
    fn new(count: &'c Cell<usize>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// A connection that is being opened, until dropped: then whoever waits has another look.
struct Dialling<'s> {
    _count: Counted<'s>,
    _told: Told<'s>,
}

impl<'s> Dialling<'s> {
    fn new(server: &'s Server) -> Self {
        Self { _count: Counted::new(&server.dialling), _told: Told(&server.news) }
    }
}

struct Told<'s>(&'s Notify);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        self.0.notify_waiters();
    }
}
