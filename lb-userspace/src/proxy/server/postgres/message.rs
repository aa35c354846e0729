//! The few messages of PostgreSQL's protocol that we have to understand.
//!
//! <https://www.postgresql.org/docs/18/protocol-message-formats.html>. Integers are big-endian;
//! a length counts itself.

/// Length and code, with which every message without a type begins.
pub(crate) const HEAD: usize = 8;
/// The type of a TLS record with a handshake message (RFC 8446 5.1). A message's length never
/// begins with it.
pub(crate) const TLS_HANDSHAKE: u8 = 22;

const CANCEL_REQUEST: u32 = 80_877_102;
const SSL_REQUEST: u32 = 80_877_103;
const GSSENC_REQUEST: u32 = 80_877_104;
/// The one major version that servers speak today.
const PROTOCOL: u32 = 3;
/// `MAX_STARTUP_PACKET_LENGTH` (src/include/libpq/pqcomm.h).
const LONGEST_STARTUP: usize = 10_000;
/// Process id and a secret of 4 to 256 bytes; 4 before protocol 3.2.
const KEY_LENGTHS: std::ops::RangeInclusive<usize> = 8..=260;

/// A message without a type: what a client may begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// SSLRequest.
    Tls,
    /// GSSENCRequest.
    Gss,
    Cancel(CancelKey),
    /// StartupMessage, of which the head suffices.
    Session,
}

/// What BackendKeyData gives out and CancelRequest repeats.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CancelKey(Box<[u8]>);

impl CancelKey {
    /// The CancelRequest.
    pub(crate) fn request(&self) -> Vec<u8> {
        let length = HEAD + self.0.len();
        let mut message = Vec::with_capacity(length);
        message.extend((length as u32).to_be_bytes());
        message.extend(CANCEL_REQUEST.to_be_bytes());
        message.extend(&self.0);
        message
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MalformedMessage {
    #[error("a startup message of {0} bytes")]
    Length(usize),
    #[error("protocol {0}.{1}, which is not PostgreSQL's")]
    Version(u32, u32),
}

/// Reads the beginning of a message from at least [`HEAD`] bytes. The inner error is how many bytes
/// are missing.
///
/// # Errors
/// [`MalformedMessage`]: this is not PostgreSQL's protocol.
pub(crate) fn parse_start(bytes: &[u8]) -> Result<Result<Start, usize>, MalformedMessage> {
    let Some((length, rest)) = split_u32(bytes) else {
        return Ok(Err(HEAD - bytes.len()));
    };
    let length = length as usize;
    let Some((code, body)) = split_u32(rest) else {
        return Ok(Err(HEAD - bytes.len()));
    };
    if !(HEAD..=LONGEST_STARTUP).contains(&length) {
        return Err(MalformedMessage::Length(length));
    }
    match code {
        SSL_REQUEST if length == HEAD => Ok(Ok(Start::Tls)),
        GSSENC_REQUEST if length == HEAD => Ok(Ok(Start::Gss)),
        CANCEL_REQUEST if KEY_LENGTHS.contains(&(length - HEAD)) => Ok(match body {
            _ if bytes.len() < length => Err(length - bytes.len()),
            _ => Ok(Start::Cancel(CancelKey(body[..length - HEAD].into()))),
        }),
        CANCEL_REQUEST | SSL_REQUEST | GSSENC_REQUEST => Err(MalformedMessage::Length(length)),
        _ if code >> 16 == PROTOCOL => Ok(Ok(Start::Session)),
        _ => Err(MalformedMessage::Version(code >> 16, code & 0xffff)),
    }
}

fn split_u32(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (first, rest) = bytes.split_first_chunk()?;
    Some((u32::from_be_bytes(*first), rest))
}

/// Follows what a server sends until it has given out its key: messages with a type.
#[derive(Debug, Default)]
pub(crate) struct KeyScan {
    /// Of the message that has begun: its type and length, then of a key also the body.
    seen: Vec<u8>,
    /// Bytes of its body that are passed over.
    skip: usize,
    is_over: bool,
}

/// Type and length.
const TYPED_HEAD: usize = 5;

impl KeyScan {
    /// No key will come any more, or it has come.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Takes in the next bytes; the key where they complete it.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) -> Option<CancelKey> {
        while !self.is_over && !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let wanted = self.wanted().min(bytes.len());
            self.seen.extend_from_slice(&bytes[..wanted]);
            bytes = &bytes[wanted..];
            if let Some(key) = self.advance() {
                self.is_over = true;
                return Some(key);
            }
        }
        None
    }

    /// How many bytes of the current message are still to be kept.
    fn wanted(&self) -> usize {
        let end = if self.seen.len() < TYPED_HEAD { TYPED_HEAD } else { 1 + self.length() };
        if self.skip > 0 { 0 } else { end - self.seen.len() }
    }

    /// Of the message without its type.
    fn length(&self) -> usize {
        let length = self.seen[1..].first_chunk().expect("the head is complete");
        u32::from_be_bytes(*length) as usize
    }

    fn advance(&mut self) -> Option<CancelKey> {
        if self.seen.len() < TYPED_HEAD {
            return None;
        }
        let length = self.length();
        let body = length.saturating_sub(4);
        match self.seen[0] {
            // ReadyForQuery: this server gives out no keys.
            b'Z' => self.is_over = true,
            _ if length < 4 => self.is_over = true,
            b'K' if !KEY_LENGTHS.contains(&body) => self.is_over = true,
            b'K' if self.seen.len() < TYPED_HEAD + body => {}
            b'K' => return Some(CancelKey(self.seen[TYPED_HEAD..].into())),
            _ => {
                self.seen.clear();
                self.skip = body;
            }
        }
        None
    }
}
