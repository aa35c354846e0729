//! What `cargo xtask` does. lb-userspace's build script uses [`build_ebpf`] too, so that plain
//! `cargo build` and `cargo xtask build-ebpf` are one piece of code.

pub mod apt;
pub mod build_ebpf;
pub mod process;
pub mod python;
pub mod toolchain;

#[cfg(feature = "cli")]
pub mod bench;
#[cfg(feature = "cli")]
pub mod demo;
#[cfg(feature = "cli")]
pub mod fuzz;
#[cfg(feature = "cli")]
pub mod kernels;
#[cfg(feature = "cli")]
pub mod lab;
#[cfg(feature = "cli")]
pub mod programs;
#[cfg(feature = "cli")]
pub mod setup;
#[cfg(feature = "cli")]
pub mod test;
#[cfg(feature = "cli")]
pub mod tidy;
#[cfg(feature = "cli")]
pub mod torture;
