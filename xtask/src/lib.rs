//! What `cargo xtask` does. lb-userspace's build script uses [`build_ebpf`] too, so that plain
//! `cargo build` and `cargo xtask build-ebpf` are one piece of code.

pub mod build_ebpf;
pub mod process;
pub mod toolchain;

#[cfg(feature = "cli")]
pub mod apt;
#[cfg(feature = "cli")]
pub mod setup;
