//! The backends behind ports, as the tables have them.

use super::{
    addresses::{VIPS, vip_key},
    filled::model,
    limits::{MOVE_PORT, RESET_PORT},
};

/// The backends that fall, by id.
#[must_use]
pub fn falling() -> Vec<u32> {
    let first = |port| (0..VIPS.len()).map(move |family| members(port, family)[0]);
    first(RESET_PORT).chain(first(MOVE_PORT)).collect()
}

/// The backends behind a port, by id.
#[must_use]
pub fn members(port: u16, family: usize) -> Vec<u32> {
    let model = model(0);
    let service = model.vips[&vip_key(VIPS[family], port, 6)].service;
    let ring = model.current_rings[service as usize];
    let count = (ring.offset() + ring.length()) as usize;
    model.rings[count + 1..][..model.rings[count] as usize].to_vec()
}
