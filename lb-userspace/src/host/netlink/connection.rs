//! The connection to the kernel's routing (rtnetlink(7)), in the network namespace of the thread
//! that opened it.

use futures_util::{Stream, TryStreamExt as _};
use rtnetlink::{
    Error, Handle, new_connection_with_strict_check,
    packet_route::route::{RouteAttribute, RouteHeader, RouteMessage, RouteProtocol},
};
use tokio::task::JoinHandle;

use crate::host::error::HostError;

/// The protocol number that marks our routes and neighbours: `proto 76` in iproute2's listings (76
/// is `L`; /etc/iproute2/rt_protos does not use it). Whatever carries it is removed without asking.
pub const PROTOCOL: u8 = 76;

pub(crate) fn protocol() -> RouteProtocol {
    RouteProtocol::from(PROTOCOL)
}

pub(crate) fn route(header: RouteHeader, attributes: Vec<RouteAttribute>) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header = header;
    message.attributes = attributes;
    message
}

pub(crate) struct Netlink {
    pub(crate) handle: Handle,
    connection: JoinHandle<()>,
}

impl Netlink {
    /// Opens a strict socket: the kernel filters dumps itself, which avoids reading the whole table
    /// of a BGP router.
    ///
    /// # Errors
    ///
    /// No netlink socket, or a kernel before 4.20.
    pub(crate) fn open() -> Result<Self, HostError> {
        let (connection, handle, _) = new_connection_with_strict_check().map_err(|source| {
            HostError::Netlink { action: "open a netlink socket".to_owned(), source }
        })?;
        Ok(Self { handle, connection: tokio::spawn(connection) })
    }

    /// Returns the routes that match the header and attributes of `filter`.
    pub(crate) async fn routes(&self, filter: RouteMessage) -> Result<Vec<RouteMessage>, Error> {
        collect(self.handle.route().get(filter).execute()).await
    }
}

pub(crate) async fn collect<T>(
    replies: impl Stream<Item = Result<T, Error>>,
) -> Result<Vec<T>, Error> {
    replies.try_collect().await
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.connection.abort();
    }
}
