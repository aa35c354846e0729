//! Keys for session tickets (RFC 8446 4.6.1, RFC 5077), which change.
//!
//! Whoever has a key can read what was recorded of the sessions that it stands for, as far as they
//! were resumed without new key material, and pass for a client of theirs: so none lives long, and
//! none is kept anywhere but in memory.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use rustls::server::ProducesTickets;

use super::{certificates::CertificateError, ticket_key::TicketKey};

static SHARED: OnceLock<Arc<Tickets>> = OnceLock::new();

/// The keys of tickets, for the process that takes this one's place.
#[derive(Clone)]
pub struct TicketSecrets {
    pub current: Vec<u8>,
    pub previous: Option<Vec<u8>>,
    /// How long the current one is still used.
    pub remaining: Duration,
}

impl TicketSecrets {
    /// Returns those of this process's shared tickets. `None`: there are none yet.
    #[must_use]
    pub fn of_this_process() -> Option<Self> {
        let keys = SHARED.get()?.keys.load_full();
        let remaining = keys.until.saturating_duration_since(Instant::now());
        let previous = keys.previous.as_ref().map(|key| key.secret().to_vec());
        Some(Self { current: keys.current.secret().to_vec(), previous, remaining })
    }

    /// Has this process go on with them, for tickets that are used for `period`. Call it before the
    /// first routes are made.
    ///
    /// # Errors
    ///
    /// They are no keys, or this process has keys already.
    pub fn go_on(&self, period: Duration) -> Result<(), CertificateError> {
        let key = |secret: &Vec<u8>| TicketKey::of(secret).map(Arc::new);
        let made = key(&self.current).and_then(|current| {
            let previous = self.previous.as_ref().map(key).transpose()?;
            let until = Instant::now() + self.remaining.min(period);
            let keys = ArcSwap::from_pointee(Keys { current, previous, until });
            Ok(Arc::new(Tickets { period, keys }))
        });
        let shared = made.ok().map(|made| SHARED.set(made));
        shared.and_then(Result::ok).ok_or(CertificateError::Tickets)
    }
}

/// One set of keys for new tickets, and the one before for old ones. A ticket is honoured for one
/// period at least and two at most.
pub(crate) struct Tickets {
    period: Duration,
    keys: ArcSwap<Keys>,
}

struct Keys {
    current: Arc<TicketKey>,
    previous: Option<Arc<TicketKey>>,
    /// When `current` has been in use for a period.
    until: Instant,
}

impl Tickets {
    /// `period` at most six hours, after which rustls would change keys by itself.
    pub(crate) fn new(period: Duration) -> Result<Arc<Self>, CertificateError> {
        Self::at(Instant::now(), period)
    }

    /// The same for all workers and configurations of this process: a client may resume on any
    /// worker, and new certificates do not cost everybody a full handshake. The first period
    /// counts: settings are read at the start.
    pub(crate) fn shared(period: Duration) -> Result<Arc<Self>, CertificateError> {
        if let Some(shared) = SHARED.get() {
            return Ok(shared.clone());
        }
        let made = Self::new(period)?;
        Ok(SHARED.get_or_init(|| made).clone())
    }

    fn at(now: Instant, period: Duration) -> Result<Arc<Self>, CertificateError> {
        let current = TicketKey::random().map_err(|_| CertificateError::Tickets)?;
        let keys = Keys { current: Arc::new(current), previous: None, until: now + period };
        Ok(Arc::new(Self { period, keys: ArcSwap::from_pointee(keys) }))
    }

    fn encrypt_at(&self, now: Instant, session: &[u8]) -> Option<Vec<u8>> {
        self.keys(now)?.current.encrypt(session)
    }

    fn decrypt_at(&self, now: Instant, ticket: &[u8]) -> Option<Vec<u8>> {
        let keys = self.keys(now)?;
        let previous = || keys.previous.as_ref()?.decrypt(ticket);
        keys.current.decrypt(ticket).or_else(previous)
    }

    /// Those that count now. `None`: new ones cannot be made, and the old ones are too old.
    fn keys(&self, now: Instant) -> Option<Arc<Keys>> {
        let keys = self.keys.load_full();
        if now < keys.until {
            return Some(keys);
        }
        let current = TicketKey::random();
        let current = current.inspect_err(|error| tracing::error!(%error, "no keys for tickets"));
        let is_fresh = now < keys.until + self.period;
        let next = Arc::new(Keys {
            current: Arc::new(current.ok()?),
            previous: is_fresh.then(|| keys.current.clone()),
            until: now + self.period,
        });
        // Another worker may have been faster.
        self.keys.compare_and_swap(&keys, next);
        Some(self.keys.load_full())
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    /// What clients are told, s.
    fn lifetime(&self) -> u32 {
        u32::try_from(self.period.as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, session: &[u8]) -> Option<Vec<u8>> {
        self.encrypt_at(Instant::now(), session)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.decrypt_at(Instant::now(), ticket)
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets").field("period", &self.period).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_ticket_outlives_one_change_of_keys_and_not_two() {
        let start = Instant::now();
        let tickets = Tickets::at(start, HOUR).unwrap();
        let before = start + HOUR - Duration::from_secs(1);
        let ticket = tickets.encrypt_at(before, b"session").unwrap();
        assert_eq!(tickets.decrypt_at(before, &ticket).unwrap(), b"session");
        let changed = start + HOUR;
        assert_eq!(tickets.decrypt_at(changed, &ticket).unwrap(), b"session");
        let newer = tickets.encrypt_at(changed, b"newer").unwrap();
        let old_keys = Tickets::at(start, HOUR).unwrap();
        assert_eq!(old_keys.decrypt_at(start, &newer), None, "others' keys are others'");
        let changed_again = changed + HOUR;
        assert_eq!(tickets.decrypt_at(changed_again, &newer).unwrap(), b"newer");
        assert_eq!(tickets.decrypt_at(changed_again, &ticket), None);
    }

    #[test]
    fn new_tickets_are_of_new_keys() {
        let start = Instant::now();
        let tickets = Tickets::at(start, HOUR).unwrap();
        let first = tickets.keys.load().current.clone();
        let ticket = tickets.encrypt_at(start + HOUR, b"session").unwrap();
        assert_eq!(first.decrypt(&ticket), None);
    }

    #[test]
    fn after_a_long_silence_nothing_old_counts() {
        let start = Instant::now();
        let tickets = Tickets::at(start, HOUR).unwrap();
        let ticket = tickets.encrypt_at(start, b"session").unwrap();
        assert_eq!(tickets.decrypt_at(start + 2 * HOUR, &ticket), None);
    }
}
