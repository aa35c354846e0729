//! The new process: has what the old one gave it.

use std::{
    env, io,
    net::TcpListener,
    os::{
        fd::OwnedFd,
        unix::{net::UnixStream as StdUnixStream, process::parent_id},
    },
};

use anyhow::{Context as _, bail, ensure};
use serde::de::DeserializeOwned;
use tokio::{net::UnixStream, sync::mpsc};

use super::descriptor::take;
use super::message::{
    Channel, FromNew, FromOld, HandoverState, Invitation, Named, ServiceTotals, VARIABLE, VERSION,
};

/// This process, if it was started to take another one's place.
pub struct NewProcess {
    control: Option<StdUnixStream>,
    channel: Option<Channel>,
    descriptors: Named,
    listeners: Vec<TcpListener>,
    generations: serde_json::Value,
}

impl NewProcess {
    /// Takes what the old process gave us. `None`: nobody did. Call it once, before anything else
    /// opens files.
    ///
    /// # Errors
    ///
    /// The old process speaks another version, or a descriptor is not there.
    pub fn from_environment() -> anyhow::Result<Option<Self>> {
        let Some(text) = env::var_os(VARIABLE) else { return Ok(None) };
        let text = text.into_string().ok().context("LB_HANDOVER is no text")?;
        let invitation: Invitation =
            serde_json::from_str(&text).context("cannot understand LB_HANDOVER")?;
        if invitation.parent != parent_id() {
            // Inherited from some ancestor: it is not for us.
            return Ok(None);
        }
        let Invitation { version, control, descriptors, listeners, generations, .. } = invitation;
        ensure!(
            version == VERSION,
            "the running lb hands over by version {version}, not {VERSION}"
        );
        let control = StdUnixStream::from(take(control)?);
        let descriptors = descriptors.into_iter().map(|(name, fd)| Ok((name, take(fd)?)));
        let listeners = listeners.into_iter().map(|fd| Ok(TcpListener::from(take(fd)?)));
        Ok(Some(Self {
            control: Some(control),
            channel: None,
            descriptors: descriptors.collect::<io::Result<_>>()?,
            listeners: listeners.collect::<io::Result<_>>()?,
            generations,
        }))
    }

    /// Returns the descriptor with this name.
    ///
    /// # Errors
    ///
    /// The old process gave none.
    pub fn descriptor(&mut self, name: &str) -> anyhow::Result<OwnedFd> {
        self.descriptors.remove(name).with_context(|| format!("no descriptor {name:?} was given"))
    }

    /// Returns what the old process said of the generations that live.
    ///
    /// # Errors
    ///
    /// It cannot be understood.
    pub fn generations<G: DeserializeOwned>(&self) -> anyhow::Result<G> {
        Ok(serde_json::from_value(self.generations.clone())?)
    }

    /// Returns the proxy's listening sockets.
    pub fn listeners(&mut self) -> Vec<TcpListener> {
        std::mem::take(&mut self.listeners)
    }

    /// Says that this process could serve, and waits for the old one to step back.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// The old process has ended, or thought better of it.
    pub async fn prepared(&mut self) -> anyhow::Result<HandoverState> {
        let channel = self.channel()?;
        channel.send(&FromNew::Prepared).await?;
        match channel.receive().await? {
            Some(FromOld::Commit(state)) => Ok(*state),
            Some(FromOld::Totals(_)) => bail!("the running lb counts before it has stepped back"),
            None => bail!("the running lb has ended, or stopped the upgrade"),
        }
    }

    /// Says that this process serves: the old one drains.
    ///
    /// # Errors
    ///
    /// The old process has ended.
    pub async fn serving(&mut self) -> anyhow::Result<()> {
        Ok(self.channel()?.send(&FromNew::Serving).await?)
    }

    /// Sends on what the old process counts while it drains, until that ends.
    pub async fn follow(mut self, totals: mpsc::Sender<Vec<ServiceTotals>>) {
        let Ok(channel) = self.channel() else { return };
        while let Ok(Some(FromOld::Totals(counted))) = channel.receive().await {
            if totals.send(counted).await.is_err() {
                return;
            }
        }
    }

    /// Says why this process cannot take over.
    pub async fn failed(&mut self, why: String) {
        // The old process sees our end anyway.
        if let Ok(channel) = self.channel() {
            let _ = channel.send(&FromNew::Failed { why }).await;
        }
    }

    fn channel(&mut self) -> anyhow::Result<&mut Channel> {
        if let Some(control) = self.control.take() {
            control.set_nonblocking(true)?;
            self.channel = Some(Channel::new(UnixStream::from_std(control)?));
        }
        self.channel.as_mut().context("the channel to the running lb is gone")
    }
}
