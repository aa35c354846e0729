//! An XDP program that passes everything, for the far end of a veth.
//!
//! What a program sends back with XDP_TX reaches the far end of a veth only if that has a program
//! too; a real NIC has no such condition. iproute2 loads it, and it lives as long as the device.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use object::{
    Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolKind, SymbolScope,
    write::{Object, Symbol, SymbolSection},
};

use super::{netns::Netns, process::output};

/// `r0 = XDP_PASS; exit` (include/uapi/linux/bpf.h, where XDP_PASS is 2).
const PROGRAM: [u8; 16] = [0xb7, 0, 0, 0, 2, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];

/// Attaches it to `device`. Its object lies in `directory` meanwhile.
pub fn attach(netns: &Netns, device: &str, directory: &Path) -> Result<()> {
    let file = directory.join("pass.bpf.o");
    fs::write(&file, elf()?)?;
    let mut ip = netns.command("ip");
    ip.args(["link", "set", "dev", device, "xdpdrv", "object"]);
    ip.arg(&file).args(["section", "xdp"]);
    output(&mut ip).with_context(|| format!("a passing XDP program on {device}"))?;
    Ok(())
}

fn elf() -> Result<Vec<u8>> {
    let mut object = Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
    let section = object.add_section(Vec::new(), b"xdp".to_vec(), SectionKind::Text);
    object.append_section_data(section, &PROGRAM, 8);
    let license = object.add_section(Vec::new(), b"license".to_vec(), SectionKind::Data);
    object.append_section_data(license, b"GPL\0", 1);
    object.add_symbol(Symbol {
        name: b"pass".to_vec(),
        value: 0,
        size: PROGRAM.len() as u64,
        kind: SymbolKind::Text,
        scope: SymbolScope::Dynamic,
        weak: false,
        section: SymbolSection::Section(section),
        flags: SymbolFlags::None,
    });
    Ok(object.write()?)
}
