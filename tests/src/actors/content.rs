//! Bytes whose place can be told from their value: what is lost, doubled or swapped shows.

use std::sync::LazyLock;

/// A prime, so that no piece that programs move at a time is a multiple of it.
const PERIOD: usize = 65_537;

static PATTERN: LazyLock<Vec<u8>> = LazyLock::new(|| {
    // The upper bits of a product with an odd constant (Fibonacci hashing).
    let at = |place: usize| ((place as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8;
    (0..PERIOD).map(at).collect()
});

/// Fills `buffer` with the content from its beginning.
pub fn fill(buffer: &mut [u8]) {
    for piece in buffer.chunks_mut(PERIOD) {
        piece.copy_from_slice(&PATTERN[..piece.len()]);
    }
}

/// Whether `bytes` are the content from `offset` on.
#[must_use]
pub fn is_right(offset: u64, mut bytes: &[u8]) -> bool {
    let mut place = (offset % PERIOD as u64) as usize;
    while !bytes.is_empty() {
        let (piece, rest) = bytes.split_at(bytes.len().min(PERIOD - place));
        if piece != &PATTERN[place..place + piece.len()] {
            return false;
        }
        (place, bytes) = (0, rest);
    }
    true
}
