//! Choosing a backend in the proxy: pure.
