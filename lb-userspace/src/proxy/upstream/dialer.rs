//! TCP connections to backends.

use std::{io, net::SocketAddr, sync::Arc};

use socket2::SockRef;
use tokio::{
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::proxy::{
    http::fault::Fault,
    net::{descriptors::Descriptors, listener::notice_loss},
};
use crate::{
    exhaustion::{FailedOperation, FailureCause},
    settings::ProxySettings,
};

pub(crate) struct Dialer {
    pub settings: Arc<ProxySettings>,
    descriptors: Arc<Descriptors>,
}

impl Dialer {
    pub(crate) fn new(settings: Arc<ProxySettings>, descriptors: Arc<Descriptors>) -> Self {
        Self { settings, descriptors }
    }

    /// Returns the same with other settings.
    pub(crate) fn configured(&self, settings: Arc<ProxySettings>) -> Self {
        Self::new(settings, self.descriptors.clone())
    }

    /// Opens a connection.
    pub(crate) async fn dial(&self, address: SocketAddr) -> Result<TcpStream, Fault> {
        self.connect(address).await.map_err(|error| self.fault(address, &error))
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let socket = match self.socket(address) {
            Ok(socket) => socket,
            Err(_) => Box::pin(self.descriptors.made_room(|| self.socket(address))).await?,
        };
        let stream = timeout(self.settings.dial_timeout, socket.connect(address)).await??;
        stream.set_nodelay(true)?;
        notice_loss(&SockRef::from(&stream), &self.settings.keepalive)?;
        Ok(stream)
    }

    /// A socket that is not among those that are kept back.
    fn socket(&self, address: SocketAddr) -> io::Result<TcpSocket> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        if self.descriptors.allows(&socket) {
            Ok(socket)
        } else {
            Err(io::Error::from_raw_os_error(libc::EMFILE))
        }
    }

    fn fault(&self, address: SocketAddr, error: &io::Error) -> Fault {
        tracing::debug!(backend = %address, %error, "cannot connect");
        if FailureCause::of(error) == FailureCause::Resource {
            if let Some(others) = self.descriptors.exhaustion.note(FailedOperation::Dial) {
                tracing::warn!(
                    backend = %address,
                    %error,
                    others,
                    "this host lacks what it takes to connect"
                );
            }
            return Fault::OutOfSockets;
        }
        if error.kind() == io::ErrorKind::TimedOut { Fault::SlowDial } else { Fault::Unreachable }
    }
}
