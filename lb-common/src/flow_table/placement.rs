//! Where keys fall in the flow table: clients' anywhere, backends' side by side.

use crate::abi::{Answer, FlowKey, WAYS};

const ODD: u64 = 0xff51_afd7_ed55_8ccd;
const OTHER: u64 = 0xc4ce_b9fe_1a85_ec53;

/// Places a key. Keyed, not cryptographic: it keeps who cannot see our buckets from choosing them.
#[inline(always)]
#[must_use]
pub fn hash(key: &FlowKey, seed: [u64; 2]) -> u64 {
    hash_between(between(key, seed), key, seed)
}

/// Both addresses of a key, mixed: what [`hash`] and [`Placement::of`] have in common.
#[inline(always)]
#[must_use]
pub fn between(key: &FlowKey, [seed, other]: [u64; 2]) -> u64 {
    let ([a, b], [c, d]) = (key.src.words(), key.dst.words());
    // Two lanes, which a CPU works on at the same time.
    let left = (a ^ seed).wrapping_mul(ODD);
    let right = (b ^ other).wrapping_mul(OTHER);
    let left = (left ^ left >> 32 ^ c).wrapping_mul(ODD);
    let right = (right ^ right >> 32 ^ d).wrapping_mul(OTHER);
    left ^ left >> 32 ^ right.rotate_left(23)
}

/// [`hash`], where [`between`] is known.
#[inline(always)]
#[must_use]
pub fn hash_between(between: u64, key: &FlowKey, [seed, _]: [u64; 2]) -> u64 {
    let ports =
        u32::from_ne_bytes([key.src_port[0], key.src_port[1], key.dst_port[0], key.dst_port[1]]);
    let both = between ^ ((ports as u64) << 32 | key.protocol as u64);
    let both = (both ^ both >> 32 ^ seed).wrapping_mul(ODD);
    (both ^ both >> 29).wrapping_mul(OTHER)
}

/// Where a backend's packet is looked up, and by what: see [`Answer`].
///
/// Neighbouring source ports towards one backend lie side by side, [`NEIGHBOURS`] to a bucket, and
/// flows get their ports in turn: those opened one after the other share cache lines. Where a
/// backend's ports begin is as good as random.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    place: u32,
    way: u32,
    hash: u64,
}

/// Source ports of a backend whose answers share a bucket: half of its ways, so that two backends
/// may have all their ports where they happen to overlap.
pub const NEIGHBOURS: u32 = WAYS / 2;

impl Placement {
    #[inline(always)]
    #[must_use]
    pub fn of(key: &FlowKey, seed: [u64; 2]) -> Self {
        let between = between(key, seed);
        Self::between(between, key, hash_between(between, key, seed))
    }

    /// The same, where [`between`] and [`hash`] are known.
    #[inline(always)]
    #[must_use]
    pub fn between(between: u64, key: &FlowKey, hash: u64) -> Self {
        let server = (u16::from_ne_bytes(key.src_port) as u64) << 32 | key.protocol as u64;
        let start = (between ^ server).wrapping_mul(ODD) >> 32;
        let port = u16::from_be_bytes(key.dst_port) as u32;
        let way = port % NEIGHBOURS * (WAYS / NEIGHBOURS);
        Self { place: (start as u32).wrapping_add(port / NEIGHBOURS), way, hash }
    }

    /// Mostly free: each of those that share a bucket has its own.
    #[inline(always)]
    pub(crate) const fn likely_way(self) -> u32 {
        self.way
    }

    /// The bucket of ANSWERS.
    #[inline(always)]
    #[must_use]
    pub const fn bucket(self, mask: u32) -> u32 {
        self.place & mask
    }

    /// What stands there for the flow with that number.
    #[inline(always)]
    #[must_use]
    pub const fn answer(self, number: u32) -> Answer {
        Answer::new(self.hash, number)
    }

    /// 0 if an [`Answer`] may be for this key.
    #[inline(always)]
    #[must_use]
    pub const fn differs(self, word: u64) -> u64 {
        Answer(word).differs(self.hash)
    }
}
