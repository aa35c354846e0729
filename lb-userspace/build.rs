//! Builds the kernel objects that `lb` embeds, as `lb.bpf.o` and `decap.bpf.o` in `OUT_DIR`.

use std::{env, path::PathBuf, process::ExitCode};

use xtask::{build_ebpf, process::root};

fn main() -> ExitCode {
    for source in build_ebpf::SOURCES {
        println!("cargo::rerun-if-changed={}", root().join(source).display());
    }
    let arch = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_else(|_| env::consts::ARCH.to_owned());
    let options = build_ebpf::Options {
        log: env::var_os("CARGO_FEATURE_KERNEL_LOG").is_some(),
        arch: &arch,
        ..build_ebpf::Options::default()
    };
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    match build_ebpf::build_into(options, &out) {
        Ok(()) => {
            println!("cargo::rustc-env=LB_OBJECT={}", out.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("cargo::error={error:#}");
            ExitCode::FAILURE
        }
    }
}
