//! A header from the proxy in front of us.

use std::{io, net::SocketAddr};

use proxy_header::{ParseConfig, Protocol, ProxyHeader};
use tokio::{
    io::{AsyncReadExt, Interest},
    net::TcpStream,
};

use super::{
    facts,
    malformed::{LONGEST, MalformedHeader},
};

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReceivedHeader {
    /// The proxy speaks for itself, as in a health check.
    Itself,
    Client {
        client: SocketAddr,
        server: SocketAddr,
    },
}

/// Reads `bytes` as the beginning of a connection: what the header says and how long it is.
/// `None`: more is needed to tell.
///
/// # Errors
/// [`MalformedHeader`]: no continuation of `bytes` is a header that we take.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<(ReceivedHeader, usize)>, MalformedHeader> {
    if !may_become_header(bytes) {
        return Err(MalformedHeader::NoHeader);
    }
    let config = ParseConfig { include_tlvs: false, ..ParseConfig::default() };
    let (header, length) = match ProxyHeader::parse(bytes, config) {
        Ok(parsed) => parsed,
        Err(proxy_header::Error::BufferTooShort) if bytes.len() >= LONGEST => {
            return Err(MalformedHeader::TooLong);
        }
        Err(proxy_header::Error::BufferTooShort) => return Ok(None),
        Err(_) => return Err(MalformedHeader::NoHeader),
    };
    if length > LONGEST {
        return Err(MalformedHeader::TooLong);
    }
    let Some(address) = header.proxied_address() else {
        return Ok(Some((ReceivedHeader::Itself, length)));
    };
    if address.protocol != Protocol::Stream {
        return Err(MalformedHeader::Datagrams);
    }
    facts::check(&bytes[..length])?;
    let (client, server) = (address.source, address.destination);
    Ok(Some((ReceivedHeader::Client { client, server }, length)))
}

/// Whether `bytes` and the signature of either version agree as far as both go.
fn may_become_header(bytes: &[u8]) -> bool {
    const SIGNATURES: [&[u8]; 2] = [b"PROXY ", b"\r\n\r\n\0\r\nQUIT\n"];
    SIGNATURES.iter().any(|signature| {
        let length = bytes.len().min(signature.len());
        bytes[..length] == signature[..length]
    })
}

/// Takes the header off the beginning of `stream`, and not a byte more.
///
/// # Errors
/// Those of the stream; `InvalidData` for [`MalformedHeader`]; `UnexpectedEof`.
pub(crate) async fn receive(stream: &mut TcpStream) -> io::Result<ReceivedHeader> {
    let mut bytes = Vec::new();
    let mut ahead = [0; 512];
    loop {
        let seen = stream.peek(&mut ahead).await?;
        if seen == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let before = bytes.len();
        bytes.extend_from_slice(&ahead[..seen]);
        let parsed =
            parse(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let end = parsed.map_or(bytes.len(), |(_, length)| length);
        // Without a whole header all that is there belongs to it, and peeking again waits for more.
        stream.read_exact(&mut ahead[..end - before]).await?;
        if let Some((announced, _)) = parsed {
            return Ok(announced);
        }
        stream.ready(Interest::READABLE).await?;
    }
}
