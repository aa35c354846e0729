//! The packet path's maps and globals. Sizes here are floors for a bare load; the daemon sets the
//! real ones. What watches packets, or measures who sends them, has its own beside its code.

use core::mem::size_of;

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC},
    macros::map,
    maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, SockMap},
};
use lb_common::{
    abi::{
        ABI_VERSION as ABI, Address, Affinity, AffinityKey, Backend, Bucket, Flow, FragmentKey,
        Fragmented, QuicKey, RangeKey, Reach, Ring, RingWords, Service, Vip, VipKey, counter,
    },
    parsed::Scratch,
};

#[map]
pub static FLOWS: Array<Flow> = Array::with_max_entries(1024, BPF_F_MMAPABLE);
#[map]
pub static FLOW_SLOTS: Array<Bucket> = Array::with_max_entries(128, BPF_F_MMAPABLE);
#[map]
pub static PENDING: Array<Flow> = Array::with_max_entries(1024, BPF_F_MMAPABLE);
#[map]
pub static PENDING_SLOTS: Array<Bucket> = Array::with_max_entries(128, BPF_F_MMAPABLE);
#[map]
pub static STRETCHES: Array<u32> = Array::with_max_entries(1, 0);
#[map]
pub static ANSWERS: Array<Bucket> = Array::with_max_entries(128, BPF_F_MMAPABLE);
#[map]
pub static VIPS: HashMap<VipKey, Vip> = HashMap::with_max_entries(1024, 0);
/// As [`RangeKey`] lies behind its length.
pub type RangeData = [u8; size_of::<RangeKey>() - size_of::<u32>()];
#[map]
pub static RANGES: LpmTrie<RangeData, Vip> = LpmTrie::with_max_entries(1024, BPF_F_NO_PREALLOC);
#[map]
pub static QUIC_IDS: HashMap<QuicKey, u32> = HashMap::with_max_entries(1024, BPF_F_NO_PREALLOC);
#[map]
pub static ADDRESSES: HashMap<Address, u32> = HashMap::with_max_entries(1024, 0);
#[map]
pub static SERVICES: Array<Service> = Array::with_max_entries(1024, 0);
#[map]
pub static CURRENT_RINGS: Array<Ring> = Array::with_max_entries(1024, BPF_F_MMAPABLE);
#[map]
pub static RINGS: Array<RingWords> = Array::with_max_entries(512, BPF_F_MMAPABLE);
#[map]
pub static BACKENDS: Array<Backend> = Array::with_max_entries(1024, 0);
#[map]
pub static REACH: Array<Reach> = Array::with_max_entries(1024, BPF_F_MMAPABLE);
#[map]
pub static LOAD: Array<u64> = Array::with_max_entries(1024, BPF_F_MMAPABLE);
#[map]
pub static PORTS: Array<u32> = Array::with_max_entries(1024, 0);
#[map]
pub static SOURCE_POOL: Array<Address> = Array::with_max_entries(4096, BPF_F_MMAPABLE);
#[map]
pub static EXHAUSTED: PerCpuArray<u64> = PerCpuArray::with_max_entries(1024, 0);
#[map]
pub static AFFINITY: LruHashMap<AffinityKey, Affinity> = LruHashMap::with_max_entries(1024, 0);
#[map]
pub static TURNS: PerCpuArray<u32> = PerCpuArray::with_max_entries(1024, 0);
#[map]
pub static OPENED: PerCpuArray<u64> = PerCpuArray::with_max_entries(1024, 0);
#[map]
pub static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(counter::LENGTH, 0);
#[map]
pub static DESK: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);
#[map]
pub static SCRATCH: PerCpuArray<u32> = PerCpuArray::with_max_entries(1, 0);
#[map]
pub static FRAGMENTS: LruHashMap<FragmentKey, Fragmented> = LruHashMap::with_max_entries(16_384, 0);
#[map]
pub static FRAGMENT_IDS: Array<u32> = Array::with_max_entries(1, 0);
#[map]
pub static LISTENERS: SockMap = SockMap::with_max_entries(1, 0);

// Constants to the verifier once loaded; the loader sets them before.
#[unsafe(no_mangle)]
pub static ABI_VERSION: u32 = ABI;
#[unsafe(no_mangle)]
pub static SOURCE_PORT_FIRST: u32 = 2048;
#[unsafe(no_mangle)]
pub static SOURCE_PORT_COUNT: u32 = 30720;
#[unsafe(no_mangle)]
pub static FLOW_MASK: u32 = 127;
#[unsafe(no_mangle)]
pub static PENDING_MASK: u32 = 127;
#[unsafe(no_mangle)]
pub static ANSWER_MASK: u32 = 127;
#[unsafe(no_mangle)]
pub static SEED: [u64; 2] = [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210];
