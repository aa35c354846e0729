//! TCP segments with other numbers.

use super::frames::Frame;
use crate::wire::checksum::Delta;

/// Offsets in a TCP header.
const SEQUENCE: usize = 4;
const ACKNOWLEDGEMENT: usize = 8;
const WINDOW: usize = 14;
const CHECKSUM: usize = 16;

impl Frame {
    #[must_use]
    pub fn sequenced(self, number: u32) -> Self {
        self.with_tcp(SEQUENCE, &number.to_be_bytes())
    }

    #[must_use]
    pub fn acknowledging(self, number: u32) -> Self {
        self.with_tcp(ACKNOWLEDGEMENT, &number.to_be_bytes())
    }

    #[must_use]
    pub fn windowed(self, bytes: u16) -> Self {
        self.with_tcp(WINDOW, &bytes.to_be_bytes())
    }

    /// Sequence and acknowledgement number.
    #[must_use]
    pub fn numbers(&self) -> [u32; 2] {
        let word = |offset| {
            let place = self.l4() + offset;
            u32::from_be_bytes(self.0[place..place + 4].try_into().expect("four bytes"))
        };
        [word(SEQUENCE), word(ACKNOWLEDGEMENT)]
    }

    /// With other bytes in the TCP header, and a checksum that differs by as much (RFC 1624).
    fn with_tcp(self, offset: usize, bytes: &[u8]) -> Self {
        let l4 = self.l4();
        let word = |frame: &Self, place: usize| [frame.0[place], frame.0[place + 1]];
        let mut delta = Delta::NONE;
        for (place, new) in (l4 + offset..).step_by(2).zip(bytes.chunks_exact(2)) {
            delta = delta.word(word(&self, place), [new[0], new[1]]);
        }
        let check = delta.apply(word(&self, l4 + CHECKSUM));
        self.patch(l4 + offset, bytes).patch(l4 + CHECKSUM, &check)
    }

    /// Where the transport header begins, behind one tag at most.
    fn l4(&self) -> usize {
        let l3 = if self.0[12..14] == [0x81, 0] { 18 } else { 14 };
        l3 + if self.0[l3] >> 4 == 4 { 20 } else { 40 }
    }
}
