//! What the two processes tell each other.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    os::fd::{OwnedFd, RawFd},
    time::Duration,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::UnixStream,
};

/// The environment variable by which a process learns that it is the new one.
pub(super) const VARIABLE: &str = "LB_HANDOVER";
/// The version of the messages. A process of another version refuses.
pub(super) const VERSION: u32 = 1;
/// Far more than the totals of a hundred thousand servers need.
const LONGEST: u64 = 64 << 20;

/// The value of the environment variable.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Invitation {
    pub version: u32,
    /// The old process: the variable means nothing to anybody but its child.
    pub parent: u32,
    pub control: RawFd,
    /// By name.
    pub descriptors: BTreeMap<String, RawFd>,
    pub listeners: Vec<RawFd>,
    /// What the old process knows of others, which is its own matter.
    pub generations: serde_json::Value,
}

/// Descriptors that the new process inherits, beside the proxy's listeners.
pub(super) type Named = BTreeMap<String, OwnedFd>;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FromNew {
    /// It could serve. It has changed nothing yet.
    Prepared,
    Serving,
    Failed {
        why: String,
    },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FromOld {
    /// The old process changes nothing any more: the new one may.
    Commit(Box<HandoverState>),
    /// What the old process has counted since then, or since the last such message.
    Totals(Vec<ServiceTotals>),
}

/// What the new process goes on with, beside what is in files and in the kernel's tables.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HandoverState {
    /// Keys of session tickets, so that clients can resume.
    pub tickets: Option<TicketKeys>,
    pub totals: Vec<ServiceTotals>,
}

/// Keys of session tickets.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketKeys {
    pub current: Vec<u8>,
    pub previous: Option<Vec<u8>>,
    /// How long the current one is still used.
    pub remaining: Duration,
}

/// Secrets are not written to logs.
impl std::fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TicketKeys").field("remaining", &self.remaining).finish_non_exhaustive()
    }
}

/// What the proxy counted of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceTotals {
    pub service: String,
    pub requests: u64,
    pub failed: u64,
    /// By server.
    pub taken: Vec<(SocketAddr, u64)>,
}

impl ServiceTotals {
    /// Returns whether any count differs from zero.
    #[must_use]
    pub fn counts(&self) -> bool {
        self.requests > 0 || self.failed > 0 || self.taken.iter().any(|(_, taken)| *taken > 0)
    }
}

/// One end of the socket pair.
pub(super) struct Channel(BufReader<UnixStream>);

impl Channel {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self(BufReader::new(stream))
    }

    pub(super) async fn send(&mut self, message: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        self.0.write_all(&line).await
    }

    /// Returns the next message. `None`: the other process has ended, or closed its end.
    pub(super) async fn receive<M: DeserializeOwned>(&mut self) -> io::Result<Option<M>> {
        let mut line = Vec::new();
        (&mut self.0).take(LONGEST).read_until(b'\n', &mut line).await?;
        match line.last() {
            Some(b'\n') => Ok(Some(serde_json::from_slice(&line)?)),
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> [Channel; 2] {
        let (one, other) = UnixStream::pair().unwrap();
        [Channel::new(one), Channel::new(other)]
    }

    #[tokio::test]
    async fn messages_arrive_whole_and_the_end_is_told() {
        let [mut old, mut new] = pair();
        let totals = ServiceTotals { service: "web\n".into(), requests: 5, ..Default::default() };
        let state = HandoverState { tickets: None, totals: vec![totals; 1000] };
        let sent = FromOld::Commit(Box::new(state.clone()));
        let (sent, received) = tokio::join!(old.send(&sent), new.receive::<FromOld>());
        sent.unwrap();
        assert!(matches!(received.unwrap(), Some(FromOld::Commit(it)) if *it == state));
        new.send(&FromNew::Prepared).await.unwrap();
        drop(new);
        assert!(matches!(old.receive().await.unwrap(), Some(FromNew::Prepared)));
        assert!(old.receive::<FromNew>().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn nonsense_and_halves_are_no_messages() {
        for (text, is_error) in [("{}\n", true), ("\"nobody\"\n", true), ("\"prepared\"", false)] {
            let (mut one, other) = UnixStream::pair().unwrap();
            one.write_all(text.as_bytes()).await.unwrap();
            drop(one);
            let received = Channel::new(other).receive::<FromNew>().await;
            assert_eq!(received.is_err(), is_error, "{text}");
            assert!(received.ok().flatten().is_none());
        }
    }
}
