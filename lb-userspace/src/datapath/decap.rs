//! The kernel program for backends: it decapsulates tunnelled packets.

use std::{collections::BTreeSet, net::IpAddr, os::fd::AsFd as _};

use aya::{
    Ebpf, EbpfLoader,
    maps::{
        LpmTrie, MapData, PerCpuArray,
        lpm_trie::{Key, LpmTrie as Trie},
    },
    programs::Xdp,
};
use ipnet::IpNet;
use lb_common::{
    abi::Address,
    decap::{Outcome, names},
};

use super::{
    bpf::{error::DatapathError, ifindex, programs::take_map, typed_map::TypedMap},
    maps::counters::per_cpu,
    program::{
        attachment::{self, Attachment},
        image,
        load::raise_memlock,
    },
};
use crate::settings::XdpMode;

/// The loaded decapsulation program with its attachments; all of it ends with this value.
pub struct Decap {
    ebpf: Ebpf,
    attached: Vec<Attachment>,
    local: TypedMap<Address, u32>,
    known: BTreeSet<IpAddr>,
    outcomes: PerCpuArray<MapData, u64>,
}

impl Decap {
    /// Loads the program. It accepts packets from the networks `from` (from everywhere if empty),
    /// and GUE on the port `gue_port`. It decapsulates nothing until addresses are
    /// [`set`](Self::set_local).
    ///
    /// # Errors
    ///
    /// No privilege, no BPF in the kernel, or the verifier refuses the object.
    pub fn load(from: &[IpNet], gue_port: u16) -> Result<Self, DatapathError> {
        raise_memlock();
        let mut loader = EbpfLoader::new();
        let port = u32::from(gue_port);
        loader.override_global(names::GUE_PORT, &port, true);
        let mut ebpf = loader.load(image::DECAP).map_err(DatapathError::load)?;
        xdp(&mut ebpf)?.load().map_err(|error| DatapathError::program(names::PROGRAM, error))?;
        allow_sources(&mut ebpf, from)?;
        let local = TypedMap::open(take_map(&mut ebpf, names::LOCAL)?, names::LOCAL)?;
        let outcomes = per_cpu(take_map(&mut ebpf, names::OUTCOMES)?, names::OUTCOMES)?;
        Ok(Self { ebpf, attached: Vec::new(), local, known: BTreeSet::new(), outcomes })
    }

    /// # Errors
    ///
    /// The interface does not exist, carries another XDP program, or its driver refuses.
    pub fn attach(&mut self, interface: &str, mode: XdpMode) -> Result<(), DatapathError> {
        let index = ifindex::interface_index(interface)?;
        let program = xdp(&mut self.ebpf)?.fd();
        let program = program.map_err(|error| DatapathError::program(names::PROGRAM, error))?;
        let attachment = attachment::attach_xdp(program.as_fd(), interface, index, mode)?;
        self.attached.push(attachment);
        Ok(())
    }

    /// Sets the host's addresses: the tunnel endpoints, and the destinations that inner packets may
    /// have.
    ///
    /// # Errors
    ///
    /// There are more addresses than the table has room for (4096).
    pub fn set_local(&mut self, addresses: BTreeSet<IpAddr>) -> Result<(), DatapathError> {
        for &gone in self.known.difference(&addresses) {
            self.local.delete(&Address::of(gone))?;
        }
        for &new in addresses.difference(&self.known) {
            self.local.insert(&Address::of(new), &0)?;
        }
        self.known = addresses;
        Ok(())
    }

    /// Returns the number of frames since the load, by outcome.
    ///
    /// # Errors
    ///
    /// The system call failed.
    pub fn outcomes(&self) -> Result<Vec<(Outcome, u64)>, DatapathError> {
        let count = |&outcome: &Outcome| {
            let counts = self.outcomes.get(&(outcome as u32), 0);
            let counts = counts.map_err(|error| DatapathError::table(names::OUTCOMES, error))?;
            Ok((outcome, counts.iter().sum()))
        };
        Outcome::ALL.iter().map(count).collect()
    }
}

fn xdp(ebpf: &mut Ebpf) -> Result<&mut Xdp, DatapathError> {
    let program = ebpf.program_mut(names::PROGRAM);
    program
        .and_then(|program| program.try_into().ok())
        .ok_or(DatapathError::Missing { kind: "XDP program", name: names::PROGRAM })
}

/// Fills the trie of allowed sources. Its addresses have 128 bits: an IPv4 network is stored as
/// IPv4-mapped.
fn allow_sources(ebpf: &mut Ebpf, from: &[IpNet]) -> Result<(), DatapathError> {
    const MAPPED: u32 = 96;
    let trie: Result<LpmTrie<_, Address, u32>, _> = take_map(ebpf, names::FROM)?.try_into();
    let mut trie: Trie<MapData, _, _> =
        trie.map_err(|_| DatapathError::MapKind { name: names::FROM })?;
    let mut insert = |bits, address| {
        let added = trie.insert(&Key::new(bits, Address::of(address)), 0, 0);
        added.map_err(|error| DatapathError::table(names::FROM, error))
    };
    if from.is_empty() {
        return insert(0, IpAddr::from([0; 16]));
    }
    for network in from {
        let bits = u32::from(network.prefix_len());
        insert(if network.addr().is_ipv4() { MAPPED + bits } else { bits }, network.network())?;
    }
    Ok(())
}
