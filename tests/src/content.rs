//! Bytes whose place can be told from their value: what is lost, doubled or swapped shows.

/// Fills `buffer` with the content from `offset` on.
pub fn fill(offset: u64, buffer: &mut [u8]) {
    for (byte, place) in buffer.iter_mut().zip(offset..) {
        *byte = at(place);
    }
}

/// The first place where `bytes`, said to begin at `offset`, are not the content.
#[must_use]
pub fn first_wrong(offset: u64, bytes: &[u8]) -> Option<u64> {
    let mut places = bytes.iter().zip(offset..);
    places.find(|&(&byte, place)| byte != at(place)).map(|(_, place)| place)
}

/// The upper bits of a product with an odd constant (Fibonacci hashing): no short period.
fn at(place: u64) -> u8 {
    (place.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}
