//! How TLS handshakes end: counted by kind.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use rustls::{Error, PeerIncompatible};

/// Why there was no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HandshakeFailure {
    /// No service or certificate has the name.
    UnrecognizedName,
    /// Anything but TLS.
    NotTls,
    /// No version in common.
    Version,
    /// No cipher suite, group or signature scheme in common.
    Algorithm,
    /// No protocol in common (ALPN).
    Protocol,
    /// The client's certificate is missing or not good.
    ClientCertificate,
    /// The client sent an alert: it does not like ours, mostly.
    Alert,
    /// The client broke the rules.
    Misbehaviour,
    /// The client went away.
    Closed,
    /// It took too long.
    Timeout,
}

const KINDS: [(HandshakeFailure, &str); 10] = [
    (HandshakeFailure::UnrecognizedName, "unrecognized_name"),
    (HandshakeFailure::NotTls, "not_tls"),
    (HandshakeFailure::Version, "no_common_version"),
    (HandshakeFailure::Algorithm, "no_common_algorithm"),
    (HandshakeFailure::Protocol, "no_application_protocol"),
    (HandshakeFailure::ClientCertificate, "bad_client_certificate"),
    (HandshakeFailure::Alert, "refused_by_client"),
    (HandshakeFailure::Misbehaviour, "protocol_violation"),
    (HandshakeFailure::Closed, "closed_by_client"),
    (HandshakeFailure::Timeout, "timeout"),
];

impl HandshakeFailure {
    /// What an error of rustls, wrapped by tokio-rustls, or of the stream itself was.
    pub(crate) fn classify(error: &io::Error) -> Self {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        let Some(inner) = inner else {
            return Self::Closed;
        };
        match inner {
            Error::InvalidMessage(_) => Self::NotTls,
            Error::PeerIncompatible(why) => Self::of_incompatibility(why),
            Error::NoApplicationProtocol => Self::Protocol,
            Error::NoCertificatesPresented | Error::InvalidCertificate(_) => {
                Self::ClientCertificate
            }
            Error::AlertReceived(_) => Self::Alert,
            _ => Self::Misbehaviour,
        }
    }

    fn of_incompatibility(why: &PeerIncompatible) -> Self {
        match why {
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::Tls13RequiredForQuic => Self::Version,
            _ => Self::Algorithm,
        }
    }
}

/// All workers' counts. Monotonic.
#[derive(Default)]
pub struct HandshakeStats {
    completed: AtomicU64,
    failed: [AtomicU64; KINDS.len()],
}

impl HandshakeStats {
    #[must_use]
    pub fn completed(&self) -> u64 {
        self.completed.load(Ordering::Relaxed)
    }

    /// By the names of their kinds, also those that never happened.
    pub fn failed(&self) -> impl Iterator<Item = (&'static str, u64)> {
        KINDS.iter().map(|(kind, name)| (*name, self.failed_word(*kind).load(Ordering::Relaxed)))
    }

    pub(crate) fn begin(self: &Arc<Self>) -> Handshake {
        Handshake { counts: self.clone(), end: Err(HandshakeFailure::Timeout) }
    }

    fn failed_word(&self, kind: HandshakeFailure) -> &AtomicU64 {
        &self.failed[kind as usize]
    }
}

/// A handshake that is under way. One that is given up counts as timed out.
pub(crate) struct Handshake {
    counts: Arc<HandshakeStats>,
    end: Result<(), HandshakeFailure>,
}

impl Handshake {
    pub(crate) fn complete(mut self) {
        self.end = Ok(());
    }

    pub(crate) fn fail(mut self, kind: HandshakeFailure) {
        self.end = Err(kind);
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        let word = match self.end {
            Ok(()) => &self.counts.completed,
            Err(kind) => self.counts.failed_word(kind),
        };
        word.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_counted_in_its_own_place() {
        let counts = Arc::new(HandshakeStats::default());
        for (place, (kind, name)) in KINDS.iter().enumerate() {
            assert_eq!(*kind as usize, place);
            counts.begin().fail(*kind);
            let counted: Vec<_> = counts.failed().filter(|(_, count)| *count == 1).collect();
            assert_eq!(counted.len(), place + 1);
            assert_eq!(counted[place].0, *name);
        }
        drop(counts.begin());
        assert_eq!(counts.failed().last(), Some(("timeout", 2)));
        counts.begin().complete();
        assert_eq!(counts.completed(), 1);
    }
}
