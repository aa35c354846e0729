//! The demo: a lab, the daemon, real traffic, and what came of it.
