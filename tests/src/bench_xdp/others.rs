//! Services beside the one whose frames are measured: they must not cost those anything.

use std::net::Ipv4Addr;

use anyhow::Result;
use aya::maps::{HashMap, MapData};
use lb_common::{
    abi::{Address, Vip, VipKey, path},
    testing::world::TCP_PORT,
};

/// Entries of the tables that grow with services and backends.
pub(super) const ROOM: u32 = 1 << 14;
/// Their ids begin above the world's.
const FIRST: u32 = 1 << 10;

/// What leads to them.
pub(super) struct Others {
    vips: HashMap<MapData, VipKey, Vip>,
    count: u32,
}

impl Others {
    pub(super) const fn of(vips: HashMap<MapData, VipKey, Vip>) -> Self {
        Self { vips, count: 0 }
    }

    /// From here on there are so many.
    pub(super) fn are(&mut self, count: u32) -> Result<()> {
        for number in self.count..count {
            let vip = Vip { service: FIRST + number, path: path::STEER };
            self.vips.insert(key(number), vip, 0)?;
        }
        for number in count..self.count {
            self.vips.remove(&key(number))?;
        }
        self.count = count;
        Ok(())
    }
}

fn key(number: u32) -> VipKey {
    let address = Ipv4Addr::from_bits(Ipv4Addr::new(100, 64, 0, 0).to_bits() + number);
    VipKey::new(Address::of(address.into()), TCP_PORT.to_be_bytes(), 6)
}
