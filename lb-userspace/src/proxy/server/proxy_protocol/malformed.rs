//! Why what came is no header of the PROXY protocol.

/// The longest header that is read, in bytes: far more than any with the facts of a TLS session.
pub(crate) const LONGEST: usize = 4096;

/// Why what came is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MalformedHeader {
    #[error("no PROXY protocol header where one is demanded")]
    NoHeader,
    #[error("a PROXY protocol header of more than {LONGEST} bytes")]
    TooLong,
    #[error("a PROXY protocol header for datagrams")]
    Datagrams,
    #[error("a PROXY protocol header whose facts are malformed")]
    Facts,
    #[error("a PROXY protocol header with a wrong checksum")]
    Sum,
}
