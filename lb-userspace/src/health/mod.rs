//! Active checks: a sans-I/O state machine and the probes around it.
