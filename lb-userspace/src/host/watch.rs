//! Word of interfaces that come and go.

use std::future;

use futures_util::StreamExt as _;
use rtnetlink::{
    MulticastGroup, new_multicast_connection, packet_core::NetlinkMessage,
    packet_route::RouteNetlinkMessage, sys::SocketAddr,
};
use tokio::task::JoinHandle;

use super::HostError;

type Messages =
    futures_util::stream::BoxStream<'static, (NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>;

/// The kernel's announcements about the interfaces of a network namespace: that of the thread that
/// opened it.
///
/// They may be lost when there are very many; who must know for sure looks from time to time.
pub struct LinkWatch {
    messages: Messages,
    connection: JoinHandle<()>,
}

impl LinkWatch {
    /// To be called in a tokio runtime.
    ///
    /// # Errors
    ///
    /// No netlink socket.
    pub fn open() -> Result<Self, HostError> {
        let (connection, _, messages) =
            new_multicast_connection(&[MulticastGroup::Link]).map_err(|source| {
                HostError::Netlink { action: "watch the interfaces".to_owned(), source }
            })?;
        Ok(Self { messages: messages.boxed(), connection: tokio::spawn(connection) })
    }

    /// Returns when something about the interfaces has changed since the last time.
    pub async fn changed(&mut self) {
        // The connection ends only with us; should it end, the regular looks remain.
        if self.messages.next().await.is_none() {
            future::pending::<()>().await;
        }
        while let Some(Some(_)) = futures_util::FutureExt::now_or_never(self.messages.next()) {}
    }
}

impl Drop for LinkWatch {
    fn drop(&mut self) {
        self.connection.abort();
    }
}
