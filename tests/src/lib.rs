//! Shared by the end-to-end tests: namespaces, topology, frame builders.
