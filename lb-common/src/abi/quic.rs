//! QUIC connection ids that name a backend.

/// What QUIC_IDS is asked.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct QuicKey {
    /// Index into SERVICES.
    pub service: u32,
    pub pad: u32,
    pub id: ServerId,
}

/// The bytes of a connection id that say which server it is of (draft-ietf-quic-load-balancers),
/// zeros behind them. Two words, so that BPF does not copy it byte by byte.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ServerId([u64; 2]);

impl ServerId {
    /// Bytes that a server id may have.
    pub const LONGEST: u32 = 15;

    /// The first `length` bytes, at most [`LONGEST`](Self::LONGEST), of sixteen.
    #[inline(always)]
    #[must_use]
    pub const fn new(first: [u8; 8], second: [u8; 8], length: u32) -> Self {
        let (first, second) = (u64::from_le_bytes(first), u64::from_le_bytes(second));
        let words =
            if length < 8 { [first & mask(length), 0] } else { [first, second & mask(length - 8)] };
        Self([words[0].to_le(), words[1].to_le()])
    }

    /// Of a server with this id; `None`: it is empty or too long.
    #[must_use]
    pub fn of(id: &[u8]) -> Option<Self> {
        if id.is_empty() || id.len() > Self::LONGEST as usize {
            return None;
        }
        let mut bytes = [[0; 8]; 2];
        for (place, byte) in bytes.as_flattened_mut().iter_mut().zip(id) {
            *place = *byte;
        }
        Some(Self::new(bytes[0], bytes[1], id.len() as u32))
    }
}

/// The first `bytes` bytes of a word, fewer than eight.
#[inline(always)]
const fn mask(bytes: u32) -> u64 {
    (1 << (8 * (bytes & 7))) - 1
}

const _: () = assert!(size_of::<QuicKey>() == 24);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_a_server_id_does_not_count() {
        let bytes = *b"0123456789abcdef";
        for length in 1..=ServerId::LONGEST {
            let (first, second) = bytes.split_at(8);
            let read = ServerId::new(first.try_into().unwrap(), second.try_into().unwrap(), length);
            assert_eq!(Some(read), ServerId::of(&bytes[..length as usize]), "{length}");
        }
        assert_ne!(ServerId::of(b"ab"), ServerId::of(b"ac"));
        assert_eq!(ServerId::of(b""), None);
        assert_eq!(ServerId::of(&bytes), None);
    }
}
