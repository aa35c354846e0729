//! Limits: who is served at once, who waits, and who is turned away.
//!
//! A backend's limits are on the counts that the kernel shares, so that what is steered and what is
//! proxied see each other. A service's own limits are on what is served of it at a time. Whoever
//! finds either reached waits behind those who came before, for all workers together.

use std::{
    cell::RefCell,
    collections::VecDeque,
    rc::Rc,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::timeout};

use crate::proxy::http::fault::Fault;
use crate::{
    balance::{Balancer, PickRequest, Preference, Unavailable},
    fleet::RunningService,
    load::{Load, LoadSlot, Permit},
};

/// The first in line looks again after so long: flows that the kernel counts out, and backends that
/// come up, tell nobody.
const LOOK: Duration = Duration::from_millis(10);
/// Picks in a row that another worker may beat us to before we line up.
const RACES: usize = 4;

/// What a worker picks a service's backend with.
pub(crate) struct PickContext<'a> {
    pub balancer: &'a Balancer,
    pub rng: &'a RefCell<fastrand::Rng>,
    /// The count of what goes to a backend over a shared connection already, where there is one.
    pub counted: &'a dyn Fn(LoadSlot) -> Option<Rc<Permit>>,
}

/// One for each service, shared by all workers. Its lock is taken only where someone waits.
pub(crate) struct AdmissionControl {
    service: Arc<RunningService>,
    line: Mutex<VecDeque<Arc<Waiter>>>,
    /// The length of `line`, to be read without the lock.
    waiting: AtomicUsize,
}

/// One in line.
struct Waiter {
    turn: Notify,
    preference: Preference,
    /// It waits for what only a few backends have, and holds nobody up who wishes for something
    /// else.
    is_aside: AtomicBool,
}

impl Waiter {
    fn is_aside(&self) -> bool {
        self.is_aside.load(Ordering::Acquire)
    }
}

/// A request or connection that is served: counted at its backend and, where it has limits, at its
/// service.
pub(crate) struct Admission {
    /// `None` only while dropped.
    backend: Option<Count>,
    service: Option<Served>,
    gate: Arc<AdmissionControl>,
}

/// In a backend's count.
enum Count {
    Alone(Permit),
    /// One with all that goes over the same connection.
    Together {
        _permit: Rc<Permit>,
    },
}

impl Admission {
    /// Counts as one with all that `join` joins it to: what goes over the same connection.
    pub(crate) fn share(&mut self, join: impl FnOnce(Permit) -> Rc<Permit>) {
        self.backend = self.backend.take().map(|count| match count {
            Count::Alone(permit) => Count::Together { _permit: join(permit) },
            together @ Count::Together { .. } => together,
        });
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.backend = None;
        self.service = None;
        self.gate.call();
    }
}

/// One count of what a service with limits serves.
struct Served(Arc<RunningService>);

impl Drop for Served {
    fn drop(&mut self) {
        self.0.counts.active.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Why there is no room.
enum Denied {
    /// There may be some soon.
    Busy(Fault),
    No(Fault),
}

impl AdmissionControl {
    pub(crate) fn new(service: Arc<RunningService>) -> Arc<Self> {
        let (line, waiting) = (Mutex::default(), AtomicUsize::new(0));
        Arc::new(Self { service, line, waiting })
    }

    /// Picks a backend that has room, and counts; waits for room where the service's queue has.
    ///
    /// `earlier` is the admission to a backend that could not be reached: its place in the service
    /// is kept, and nobody is waited for.
    pub(crate) async fn admit(
        self: &Arc<Self>,
        context: &PickContext<'_>,
        request: &PickRequest<'_>,
        earlier: Option<Admission>,
    ) -> Result<(usize, Admission), Fault> {
        match self.admit_now(context, request, earlier) {
            Some(admitted) => admitted,
            // Apart, so that who needs not wait holds none of it.
            None => Box::pin(self.queue(context, request)).await,
        }
    }

    /// The same, where nobody needs to wait. `None`: it is a matter of [`queue`](Self::queue).
    fn admit_now(
        self: &Arc<Self>,
        context: &PickContext<'_>,
        request: &PickRequest<'_>,
        earlier: Option<Admission>,
    ) -> Option<Result<(usize, Admission), Fault>> {
        let is_retry = earlier.is_some();
        if !is_retry && self.waiting.load(Ordering::Acquire) > 0 {
            return None;
        }
        let kept = earlier.and_then(|mut earlier| earlier.service.take());
        match self.try_admit(context, request, kept) {
            Ok(admitted) => Some(Ok(admitted)),
            Err(Denied::Busy(_)) if !is_retry && self.queue_length() > 0 => None,
            Err(Denied::Busy(fault) | Denied::No(fault)) => Some(Err(fault)),
        }
    }

    /// Waits for its turn.
    async fn queue(
        self: &Arc<Self>,
        context: &PickContext<'_>,
        request: &PickRequest<'_>,
    ) -> Result<(usize, Admission), Fault> {
        let place = self.line_up(request.load, request.preference)?;
        let within = self.service.service.queue.timeout;
        let waited = timeout(within, self.wait(&place, context, request)).await;
        waited.unwrap_or(Err(Fault::QueueTimeout))
    }

    async fn wait(
        self: &Arc<Self>,
        place: &Place<'_>,
        context: &PickContext<'_>,
        request: &PickRequest<'_>,
    ) -> Result<(usize, Admission), Fault> {
        loop {
            let waiter = &place.waiter;
            match place.standing() {
                Standing::First => {}
                Standing::Second => {
                    self.set_aside(waiter, true);
                    waiter.turn.notified().await;
                    continue;
                }
                Standing::Later => {
                    waiter.turn.notified().await;
                    continue;
                }
            }
            let fault = match self.try_admit(context, request, None) {
                Ok(admitted) => return Ok(admitted),
                Err(Denied::No(fault)) => return Err(fault),
                Err(Denied::Busy(fault)) => fault,
            };
            self.set_aside(waiter, request.preference.is_narrow() && fault != Fault::ServiceFull);
            let _ = timeout(LOOK, waiter.turn.notified()).await;
        }
    }

    fn try_admit(
        self: &Arc<Self>,
        context: &PickContext<'_>,
        request: &PickRequest<'_>,
        kept: Option<Served>,
    ) -> Result<(usize, Admission), Denied> {
        let service = match kept {
            Some(kept) => Some(kept),
            None => self.enter_service(request.load)?,
        };
        let hard = self.service.service.concurrency.hard_limit.map_or(u64::MAX, u64::from);
        for _ in 0..RACES {
            let index =
                context.balancer.pick(request, &mut context.rng.borrow_mut()).map_err(|why| {
                    match why {
                        Unavailable::Full => Denied::Busy(why.into()),
                        Unavailable::Down | Unavailable::Elsewhere => Denied::No(why.into()),
                    }
                })?;
            let backend = &self.service.backends[index];
            let free = if (request.is_free)(backend.slot) {
                (context.counted)(backend.slot)
            } else {
                None
            };
            let count = free
                .map(|permit| Count::Together { _permit: permit })
                .or_else(|| request.load.enter_below(backend.slot, hard).map(Count::Alone));
            if count.is_some() {
                backend.state.taken.fetch_add(1, Ordering::Relaxed);
                let gate = self.clone();
                return Ok((index, Admission { backend: count, service, gate }));
            }
        }
        Err(Denied::Busy(Unavailable::Full.into()))
    }

    /// Counts what has limits. What the kernel serves at the same backends counts, too.
    fn enter_service(&self, load: &Load) -> Result<Option<Served>, Denied> {
        let Some(limits) = self.service.service.limits else {
            return Ok(None);
        };
        let room = u64::from(limits.soft_limit).saturating_sub(self.steered(load));
        let entered = self.service.counts.active.fetch_update(
            Ordering::AcqRel,
            Ordering::Acquire,
            |active| (active < room).then_some(active + 1),
        );
        match entered {
            Ok(_) => Ok(Some(Served(self.service.clone()))),
            Err(_) => Err(Denied::Busy(Fault::ServiceFull)),
        }
    }

    fn steered(&self, load: &Load) -> u64 {
        if !self.service.service.is_steered() {
            return 0;
        }
        let backends = self.service.backends.iter();
        backends.map(|it| load.count(it.slot).saturating_sub(load.permits(it.slot))).sum()
    }

    fn queue_length(&self) -> usize {
        self.service.service.queue.length as usize
    }

    fn line_up(&self, load: &Load, preference: &Preference) -> Result<Place<'_>, Fault> {
        let mut line = self.lock();
        if line.len() >= self.queue_length() {
            return Err(Fault::QueueFull);
        }
        if let Some(limits) = self.service.service.limits {
            let active = self.service.counts.active.load(Ordering::Acquire) + self.steered(load);
            if active + line.len() as u64 >= u64::from(limits.hard_limit) {
                return Err(Fault::ServiceFull);
            }
        }
        let (turn, is_aside) = (Notify::new(), AtomicBool::new(false));
        let waiter = Arc::new(Waiter { turn, preference: preference.clone(), is_aside });
        line.push_back(waiter.clone());
        self.waiting.store(line.len(), Ordering::Release);
        drop(line);
        Ok(Place { gate: self, waiter })
    }

    fn set_aside(&self, waiter: &Waiter, aside: bool) {
        if waiter.is_aside.swap(aside, Ordering::AcqRel) != aside {
            self.call();
        }
    }

    /// Tells those whose turn it may be that something has changed.
    fn call(&self) {
        if self.waiting.load(Ordering::Acquire) > 0 {
            rouse(&self.lock());
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Waiter>>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in line, until dropped.
struct Place<'g> {
    gate: &'g AdmissionControl,
    waiter: Arc<Waiter>,
}

/// Whether it is somebody's turn.
enum Standing {
    First,
    /// Behind somebody who wishes for the same and stands aside.
    Second,
    Later,
}

/// The first in line who is not aside, and all who are, before it.
fn rouse(line: &VecDeque<Arc<Waiter>>) {
    for waiter in line {
        waiter.turn.notify_one();
        if !waiter.is_aside() {
            return;
        }
    }
}

impl Place<'_> {
    fn standing(&self) -> Standing {
        let line = self.gate.lock();
        let mut standing = Standing::First;
        for other in line.iter().take_while(|other| !Arc::ptr_eq(other, &self.waiter)) {
            if !other.is_aside() {
                return Standing::Later;
            }
            if other.preference == self.waiter.preference {
                standing = Standing::Second;
            }
        }
        standing
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut line = self.gate.lock();
        line.retain(|other| !Arc::ptr_eq(other, &self.waiter));
        self.gate.waiting.store(line.len(), Ordering::Release);
        rouse(&line);
    }
}
