//! A flow by its addresses and ports.

use super::address::Address;

/// A transport 5-tuple as it stands in an arriving packet.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct FlowKey {
    pub src: Address,
    pub dst: Address,
    pub src_port: [u8; 2],
    pub dst_port: [u8; 2],
    /// IP protocol number. A whole word: stack bytes next to unset padding are stored in ways that
    /// the kernel's verifier refuses.
    pub protocol: u32,
}

const _: () = assert!(size_of::<FlowKey>() == 40);
