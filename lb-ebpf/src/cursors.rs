//! Where counters stand, for who must not move them.

use crate::declared::*;

/// Where the search for a free source port goes on.
#[inline(always)]
pub fn port_cursor(load: u32) -> u32 {
    // SAFETY: one aligned word.
    PORTS.get_ptr(load).map_or(0, |cursor| unsafe { cursor.read_volatile() })
}

/// The entries that the next CPU gets which asks for some.
#[inline(always)]
pub fn stretch_cursor() -> u32 {
    // SAFETY: one aligned word.
    STRETCHES.get_ptr(0).map_or(0, |next| unsafe { next.read_volatile() })
}

/// The identification that the next packet in fragments gets.
#[inline(always)]
pub fn fragment_cursor() -> u32 {
    // SAFETY: one aligned word.
    FRAGMENT_IDS.get_ptr(0).map_or(0, |next| unsafe { next.read_volatile() })
}

/// How often this CPU has taken its turn for a service.
#[inline(always)]
pub fn turns(service: u32) -> u32 {
    // SAFETY: one aligned word.
    TURNS.get_ptr(service).map_or(0, |turns| unsafe { turns.read_volatile() })
}
