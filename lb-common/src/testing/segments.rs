//! TCP segments with other numbers.

use super::frames::{Frame, sum};

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

    /// With other bytes in the TCP header, and the checksum that goes with them.
    fn with_tcp(self, offset: usize, bytes: &[u8]) -> Self {
        let l4 = self.l4();
        let frame = self.patch(l4 + offset, bytes).patch(l4 + CHECKSUM, &[0, 0]);
        let check = !sum(&frame.0, true);
        frame.patch(l4 + CHECKSUM, &check.to_be_bytes())
    }

    /// Where the transport header begins, behind one tag at most.
    fn l4(&self) -> usize {
        let l3 = if self.0[12..14] == [0x81, 0] { 18 } else { 14 };
        l3 + if self.0[l3] >> 4 == 4 { 20 } else { 40 }
    }
}
