//! A frame in ordinary memory, as the packet path sees one.

use crate::wire::packet::Packet;

/// Bytes kept free in front of a frame, as drivers do.
const HEADROOM: usize = 64;

/// Bytes kept free behind it.
const TAILROOM: usize = 320;

/// A frame in ordinary memory.
pub struct Buffer {
    // Words, so that the start is even.
    words: Vec<u64>,
    start: usize,
    end: usize,
}

impl Buffer {
    #[must_use]
    pub fn new(frame: &[u8]) -> Self {
        let end = HEADROOM + frame.len();
        let mut buffer =
            Self { words: vec![0; (end + TAILROOM).div_ceil(8)], start: HEADROOM, end };
        // SAFETY: the words hold `end` bytes and are borrowed for this statement alone.
        let bytes =
            unsafe { std::slice::from_raw_parts_mut(buffer.words.as_mut_ptr().cast::<u8>(), end) };
        bytes[HEADROOM..].copy_from_slice(frame);
        buffer
    }

    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: start and end lie within the words.
        unsafe {
            let first = self.words.as_ptr().cast::<u8>().add(self.start);
            std::slice::from_raw_parts(first, self.end - self.start)
        }
    }
}

// SAFETY: the words live as long as the buffer, and `&mut self` guards every writing access.
unsafe impl Packet for Buffer {
    fn bounds(&self) -> (usize, usize) {
        let base = self.words.as_ptr() as usize;
        (base + self.start, base + self.end)
    }

    fn sum<const LENGTH: usize>(&self, offset: usize) -> Option<u64> {
        let words = self.bytes().get(offset..offset + LENGTH)?.chunks_exact(4);
        Some(words.map(|w| u64::from(u32::from_ne_bytes([w[0], w[1], w[2], w[3]]))).sum())
    }

    fn adjust_head(&mut self, by: i32) -> bool {
        match self.start.checked_add_signed(by as isize) {
            // No less than an Ethernet header, as in bpf_xdp_adjust_head() of net/core/filter.c.
            Some(start) if start + 14 <= self.end => self.start = start,
            _ => return false,
        }
        true
    }

    fn adjust_tail(&mut self, by: i32) -> bool {
        match self.end.checked_add_signed(by as isize) {
            Some(end) if end >= self.start + 14 && end <= self.words.len() * 8 => {
                let old = self.end;
                self.end = end;
                if end > old {
                    // SAFETY: both lie within the words, borrowed for this statement alone.
                    unsafe {
                        let first = self.words.as_mut_ptr().cast::<u8>().add(old);
                        first.write_bytes(0, end - old);
                    }
                }
                true
            }
            _ => false,
        }
    }
}
