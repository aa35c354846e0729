//! The kernel half: load, attach, maps, sweeper, counters. The only module that knows aya.
