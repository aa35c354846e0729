//! Errors between the daemon and the kernel.

use std::{
    io,
    path::{Path, PathBuf},
};

use aya::{EbpfError, maps::MapError, programs::ProgramError};

/// An error of the datapath. The text says what to do about it; the cause is its `source`.
#[derive(Debug, thiserror::Error)]
pub enum DatapathError {
    #[error("this kernel offers no bpf(2): lb needs Linux 6.1 or newer with CONFIG_BPF_SYSCALL")]
    NoBpf,
    #[error(
        "not allowed to use BPF: run lb as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON \
         (and with kernel lockdown not in confidentiality mode)"
    )]
    Privilege,
    #[error("the embedded kernel object cannot be read: {0}")]
    Object(String),
    #[error(
        "the embedded kernel object has ABI version {object}, this daemon {daemon}: \
         they come from different builds; rebuild with `cargo xtask build-ebpf`"
    )]
    Abi { object: u32, daemon: u32 },
    #[error(
        "the embedded kernel object has a map `{name}` of a kind that this daemon does not know"
    )]
    UnknownMap { name: String },
    #[error("the embedded kernel object has no {kind} `{name}`")]
    Missing { kind: &'static str, name: &'static str },
    #[error("the map {name} has another kind or other sizes than this daemon expects")]
    MapKind { name: &'static str },
    #[error("the kernel refuses the object")]
    Load(#[source] EbpfError),
    #[error("the kernel's verifier rejects the program {program}:\n{log}")]
    Verifier { program: &'static str, log: String },
    #[error("the program {program} cannot be loaded")]
    Program {
        program: &'static str,
        #[source]
        source: ProgramError,
    },
    #[error("there is no interface `{interface}` in this network namespace")]
    UnknownInterface { interface: String },
    #[error(
        "an XDP program is already attached to {interface}: `ip link show dev {interface}` names \
         it; `lb detach` takes off what an lb left, with the `pin_dir` that it had, and \
         `ip link set dev {interface} xdp off` what was attached without a link"
    )]
    Occupied { interface: String },
    #[error("{interface} cannot run XDP in {mode} mode: {why}")]
    Attach {
        interface: String,
        mode: &'static str,
        why: String,
        #[source]
        source: io::Error,
    },
    #[error(
        "this kernel attaches XDP to {interface} without a BPF link, so a crash would leave the \
         program behind: lb needs Linux 6.1 or newer"
    )]
    NoLink {
        interface: String,
        #[source]
        source: io::Error,
    },
    #[error("the program on {interface} cannot be replaced by ours: `lb detach` removes it")]
    Replace {
        interface: String,
        #[source]
        source: io::Error,
    },
    #[error(
        "another lb is running with the data path in {}: stop it, or give this one a `pin_dir` of \
         its own", path.display()
    )]
    PinsTaken { path: PathBuf },
    #[error(
        "the data path in {0} belongs to another network namespace (net:[{inode}]): run lb there, \
         or give this one a `pin_dir` of its own; where that namespace is gone, remove {0}",
        path.display()
    )]
    PinsElsewhere { path: PathBuf, inode: u32 },
    #[error(
        "{} is not on a bpffs, which BPF objects need to have names: choose a `pin_dir` below \
         /sys/fs/bpf, or `mount -t bpf bpf` a directory for it", path.display()
    )]
    NoBpffs { path: PathBuf },
    #[error("{} cannot be {action}", path.display())]
    Pins {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the sk_lookup program cannot be attached ahead of the host's sockets")]
    Listener(#[source] io::Error),
    #[error("the table {name} cannot be {action}")]
    Table {
        name: &'static str,
        action: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("getrandom failed: the flow table needs a random seed")]
    Random(#[source] io::Error),
    #[cfg(feature = "kernel-log")]
    #[error("cannot wait for messages of the kernel program")]
    Log(#[source] io::Error),
    #[error("the table {name} is full, or has no such index")]
    Full { name: &'static str },
}

impl DatapathError {
    /// Returns the error for a failed operation on the map `name`.
    pub(crate) fn table(name: &'static str, source: impl Into<TableFailure>) -> Self {
        let TableFailure(source) = source.into();
        match source.raw_os_error() {
            Some(libc::E2BIG) => Self::Full { name },
            Some(libc::EPERM) => Self::Privilege,
            _ => Self::Table { name, action: "read or changed", source },
        }
    }

    /// Returns the error for a failed operation on a name in the bpffs.
    pub(crate) fn pins(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Pins { action, path: path.to_owned(), source }
    }

    /// Returns the error for a failed load. An operator can mend two of the causes: those have
    /// variants of their own.
    pub(crate) fn load(source: EbpfError) -> Self {
        match errno(&source) {
            Some(libc::EPERM) => Self::Privilege,
            Some(libc::ENOSYS) => Self::NoBpf,
            _ => Self::Load(source),
        }
    }

    pub(crate) fn program(program: &'static str, source: ProgramError) -> Self {
        match (errno(&source), source) {
            (Some(libc::EPERM), _) => Self::Privilege,
            (Some(libc::ENOSYS), _) => Self::NoBpf,
            (_, ProgramError::LoadError { verifier_log, .. }) => {
                Self::Verifier { program, log: last_lines(&verifier_log.to_string()) }
            }
            (_, source) => Self::Program { program, source },
        }
    }
}

/// Returns the last lines: the verifier's reason is at the end of what may be thousands of lines.
fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(16)..].join("\n")
}

/// The system error inside what aya or `bpf(2)` returned.
pub(crate) struct TableFailure(io::Error);

impl From<io::Error> for TableFailure {
    fn from(error: io::Error) -> Self {
        Self(error)
    }
}

impl From<MapError> for TableFailure {
    fn from(error: MapError) -> Self {
        Self(errno(&error).map_or_else(|| io::Error::other(error), io::Error::from_raw_os_error))
    }
}

/// Returns the first system error in the chain of causes.
pub(crate) fn errno(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let mut link = Some(error);
    while let Some(error) = link {
        if let Some(errno) = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            return Some(errno);
        }
        link = error.source();
    }
    None
}
