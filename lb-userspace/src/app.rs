//! Composes the daemon: the one module that sees everything.
