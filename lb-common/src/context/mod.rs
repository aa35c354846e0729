//! What the path knows of a packet and asks of its surroundings: the maps, the clock, routing.

pub mod map_values;
pub mod parsed;
pub mod prng;
pub mod reason;
pub mod source_tables;
pub mod tables;
pub mod verdict;
