//! Bounded access to a frame: the only pointer code of the packet path.

use core::mem::{align_of, size_of};

use network_types::{
    eth::EthHdr,
    icmp::Icmpv4Hdr,
    ip::{Ipv4Hdr, Ipv6Hdr},
    udp::UdpHdr,
    vlan::VlanHdr,
};

/// No header starts so many bytes into a frame or further: a power of two.
pub const FAR: u32 = 512;

/// A frame in memory, starting at its Ethernet header.
///
/// The bounds are compared as addresses and read afresh at every access: that is the form in which
/// the kernel's verifier recognises a packet access as safe.
///
/// # Safety
/// `bounds` must give the first byte, at an even address, and one past the last byte of memory
/// that stays live and unaliased until the next call of `adjust_head` or `adjust_tail`.
pub unsafe trait Packet {
    fn bounds(&self) -> (usize, usize);

    /// Moves the start of the frame: a negative `by` grows it at the front. `false`: no room.
    #[must_use]
    fn adjust_head(&mut self, by: i32) -> bool;

    /// Moves the end of the frame: a negative `by` shortens it, a positive one adds zeros. `false`:
    /// no room, or shorter than an Ethernet header.
    #[must_use]
    fn adjust_tail(&mut self, by: i32) -> bool;

    /// First thing in a function of its own that only reads: keeps LLVM from passing the bounds
    /// instead of the packet, which the kernel's verifier knows only as they are read.
    #[inline(always)]
    fn anchor(&self) {}

    /// Bytes in the frame.
    #[inline(always)]
    fn length(&self) -> usize {
        let (start, end) = self.bounds();
        end - start
    }

    /// Sum of `LENGTH` bytes as 32-bit words, folded or with its carries in the upper half. A
    /// multiple of four, and at most 2 KiB. `None`: the frame ends before them.
    fn sum<const LENGTH: usize>(&self, offset: usize) -> Option<u64>;

    /// The header at `offset`, which must be even; `None` if the frame ends before it does.
    #[inline(always)]
    fn at<T: Wire>(&self, offset: usize) -> Option<&T> {
        const { assert!(align_of::<T>() <= 2) };
        let (start, end) = self.bounds();
        if start + offset + size_of::<T>() > end {
            return None;
        }
        // SAFETY: in bounds as just checked, aligned since start and offset are even, valid for
        // every bit pattern as `Wire` promises.
        Some(unsafe { &*((start + offset) as *const T) })
    }

    /// As [`at`](Self::at), at an offset (even unless `T` is bytes) below [`FAR`] that comes from
    /// the packet itself: the kernel's verifier wants to see its bound.
    #[inline(always)]
    fn at_far<T: Wire>(&self, offset: u32) -> Option<&T> {
        const { assert!(align_of::<T>() <= 2) };
        let (start, end) = self.bounds();
        let place = start + (offset & (FAR - 1)) as usize;
        if place + size_of::<T>() > end {
            return None;
        }
        // SAFETY: as in `at`.
        Some(unsafe { &*(place as *const T) })
    }

    /// As [`at_far`](Self::at_far), to write.
    #[inline(always)]
    fn at_far_mut<T: Wire>(&mut self, offset: u32) -> Option<&mut T> {
        const { assert!(align_of::<T>() <= 2) };
        let (start, end) = self.bounds();
        let place = start + (offset & (FAR - 1)) as usize;
        if place + size_of::<T>() > end {
            return None;
        }
        // SAFETY: as in `at_mut`.
        Some(unsafe { &mut *(place as *mut T) })
    }

    /// As [`at`](Self::at), to write. Lends one header at a time, so no two views can overlap.
    #[inline(always)]
    fn at_mut<T: Wire>(&mut self, offset: usize) -> Option<&mut T> {
        const { assert!(align_of::<T>() <= 2) };
        let (start, end) = self.bounds();
        if start + offset + size_of::<T>() > end {
            return None;
        }
        // SAFETY: as in `at`; `&mut self` keeps other views away.
        Some(unsafe { &mut *((start + offset) as *mut T) })
    }
}

/// A type that may be laid over any bytes of a frame.
///
/// # Safety
/// No padding, no pointers, and every bit pattern is a value.
pub unsafe trait Wire: Copy {}

// SAFETY: #[repr(C)] of byte arrays and integers without padding.
unsafe impl Wire for EthHdr {}
// SAFETY: as above.
unsafe impl Wire for VlanHdr {}
// SAFETY: as above.
unsafe impl Wire for Ipv4Hdr {}
// SAFETY: as above.
unsafe impl Wire for Ipv6Hdr {}
// SAFETY: as above.
unsafe impl Wire for UdpHdr {}
// SAFETY: as above; ICMPv6 has the same layout.
unsafe impl Wire for Icmpv4Hdr {}
// SAFETY: bytes.
unsafe impl<const N: usize> Wire for [u8; N] {}
