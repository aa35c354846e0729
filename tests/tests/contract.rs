//! The kernel object as built has the programs, maps and globals that abi.rs promises. No root.

use std::{fs, sync::LazyLock};

use anyhow::{Context as _, Result};
use aya_obj::{
    Object as Parsed, ProgramSection,
    generated::bpf_map_type::{
        self, BPF_MAP_TYPE_ARRAY as ARRAY, BPF_MAP_TYPE_HASH as HASH,
        BPF_MAP_TYPE_LPM_TRIE as LPM_TRIE, BPF_MAP_TYPE_LRU_HASH as LRU_HASH,
        BPF_MAP_TYPE_PERCPU_ARRAY as PERCPU_ARRAY, BPF_MAP_TYPE_SOCKMAP as SOCKMAP,
    },
};
use lb_common::abi::{
    ABI_VERSION, Address, Backend, Bucket, Flow, FragmentKey, Fragmented, QuicKey, RangeKey, Reach,
    Ring, RingWords, Service, Vip, VipKey, VlanDevice, WAYS, counter, globals, maps, programs,
};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _};
use xtask::build_ebpf;

/// Name, type, sizes of key and value in bytes.
type MapShape = (&'static str, bpf_map_type, usize, usize);

const INDEX: usize = size_of::<u32>();
const COUNT: usize = size_of::<u64>();

const MAPS: [MapShape; 23] = [
    (maps::FLOWS, ARRAY, INDEX, size_of::<Flow>()),
    (maps::FLOW_SLOTS, ARRAY, INDEX, size_of::<Bucket>()),
    (maps::PENDING, ARRAY, INDEX, size_of::<Flow>()),
    (maps::PENDING_SLOTS, ARRAY, INDEX, size_of::<Bucket>()),
    (maps::STRETCHES, ARRAY, INDEX, INDEX),
    (maps::ANSWERS, ARRAY, INDEX, size_of::<Bucket>()),
    (maps::VIPS, HASH, size_of::<VipKey>(), size_of::<Vip>()),
    (maps::ADDRESSES, HASH, size_of::<Address>(), INDEX),
    (maps::SERVICES, ARRAY, INDEX, size_of::<Service>()),
    (maps::CURRENT_RINGS, ARRAY, INDEX, size_of::<Ring>()),
    (maps::RINGS, ARRAY, INDEX, size_of::<RingWords>()),
    (maps::BACKENDS, ARRAY, INDEX, size_of::<Backend>()),
    (maps::REACH, ARRAY, INDEX, size_of::<Reach>()),
    (maps::LOAD, ARRAY, INDEX, COUNT),
    (maps::PORTS, ARRAY, INDEX, INDEX),
    (maps::OPENED, PERCPU_ARRAY, INDEX, COUNT),
    (maps::COUNTERS, PERCPU_ARRAY, INDEX, COUNT),
    (maps::RANGES, LPM_TRIE, size_of::<RangeKey>(), size_of::<Vip>()),
    (maps::QUIC_IDS, HASH, size_of::<QuicKey>(), INDEX),
    (maps::FRAGMENTS, LRU_HASH, size_of::<FragmentKey>(), size_of::<Fragmented>()),
    (maps::FRAGMENT_IDS, ARRAY, INDEX, INDEX),
    (maps::VLANS, HASH, INDEX, size_of::<VlanDevice>()),
    (maps::LISTENERS, SOCKMAP, INDEX, INDEX),
];

/// What the daemon has in its own memory.
const MAPPED: [&str; 9] = [
    maps::FLOWS,
    maps::FLOW_SLOTS,
    maps::PENDING,
    maps::PENDING_SLOTS,
    maps::ANSWERS,
    maps::REACH,
    maps::LOAD,
    maps::CURRENT_RINGS,
    maps::RINGS,
];
const BPF_F_MMAPABLE: u32 = 1 << 10;

static OBJECT: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let object = build_ebpf::build(build_ebpf::Options::default());
    let object = object.expect("the kernel object builds");
    fs::read(object).expect("the kernel object is there")
});

#[test]
fn maps_have_their_types_and_sizes() -> Result<()> {
    let object = Parsed::parse(&OBJECT)?;
    for (name, kind, key, value) in MAPS {
        let map = object.maps.get(name).with_context(|| format!("no map {name}"))?;
        assert_eq!(map.map_type(), kind as u32, "type of {name}");
        assert_eq!(map.key_size() as usize, key, "key of {name}");
        assert_eq!(map.value_size() as usize, value, "value of {name}");
    }
    for name in MAPPED {
        let flags = object.maps[name].map_flags();
        assert_eq!(flags & BPF_F_MMAPABLE, BPF_F_MMAPABLE, "{name} can be mapped");
    }
    assert_eq!(object.maps[maps::COUNTERS].max_entries(), counter::LENGTH);
    Ok(())
}

#[test]
fn programs_are_of_their_kinds() -> Result<()> {
    let object = Parsed::parse(&OBJECT)?;
    let kind = |name| object.programs.get(name).map(|program| &program.section);
    assert!(matches!(kind(programs::BALANCE), Some(ProgramSection::Xdp { .. })));
    assert!(matches!(kind(programs::SK_LOOKUP), Some(ProgramSection::SkLookup)));
    Ok(())
}

#[test]
fn globals_are_there_and_the_version_is_ours() -> Result<()> {
    let elf = object::File::parse(OBJECT.as_slice())?;
    let bytes = |name: &str, size: u64| -> Result<&[u8]> {
        let symbol = elf.symbols().find(|symbol| symbol.name() == Ok(name));
        let symbol = symbol.with_context(|| format!("no global {name}"))?;
        assert_eq!(symbol.size(), size, "size of {name}");
        let section = elf.section_by_index(symbol.section_index().context("no section")?)?;
        section.data_range(symbol.address(), size)?.context("no data")
    };
    let global = |name| anyhow::Ok(u32::from_le_bytes(bytes(name, 4)?.try_into()?));
    assert_eq!(global(globals::ABI_VERSION)?, ABI_VERSION);
    let first = global(globals::SOURCE_PORT_FIRST)?;
    let count = global(globals::SOURCE_PORT_COUNT)?;
    assert!(count > 0 && first + count <= 65536, "{count} ports from {first}");
    bytes(globals::SEED, 16)?;
    let object = Parsed::parse(&OBJECT)?;
    for (mask, buckets, entries) in [
        (globals::FLOW_MASK, maps::FLOW_SLOTS, Some(maps::FLOWS)),
        (globals::PENDING_MASK, maps::PENDING_SLOTS, Some(maps::PENDING)),
        (globals::ANSWER_MASK, maps::ANSWERS, None),
    ] {
        let buckets = object.maps[buckets].max_entries();
        assert!(buckets.is_power_of_two() && global(mask)? == buckets - 1, "{mask}");
        let entries = entries.map_or(buckets * WAYS, |entries| object.maps[entries].max_entries());
        assert_eq!(entries, buckets * WAYS, "entries under {mask}");
    }
    Ok(())
}

#[test]
fn types_for_the_kernel_are_described() -> Result<()> {
    let elf = object::File::parse(OBJECT.as_slice())?;
    for section in [".BTF", ".BTF.ext"] {
        assert!(elf.section_by_name(section).is_some(), "no section {section}");
    }
    Ok(())
}
