//! Finding a compiler and a linker that make BPF objects.
//!
//! Two ways lead there. Debian packages a compiler with a prebuilt `core` for BPF, for which
//! bpf-linker must be built against the same LLVM. Elsewhere a rustup nightly builds `core` from
//! its `rust-src` component. Debian's way is taken where it is complete: who has those packages
//! wanted them for this.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::process::{answer, target};

/// The compilation target: every host this runs on is little endian.
pub const TARGET: &str = "bpfel-unknown-none";

const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// rustup's nightly with `rust-src`; `core` is built along.
    Nightly,
    /// Debian's `rustc-web` with `libstd-rust-web-dev-bpf`; `core` is prebuilt.
    Debian,
}

/// A compiler that has `core` for BPF, or its source.
#[derive(Clone, Debug)]
pub struct Compiler {
    pub way: Way,
    pub rustc: PathBuf,
    /// Major version of the LLVM in it.
    pub llvm: u32,
}

/// All that building the kernel object takes.
#[derive(Clone, Debug)]
pub struct Toolchain {
    pub compiler: Compiler,
    pub linker: PathBuf,
}

/// What stands between this machine and a toolchain.
#[derive(Debug)]
pub enum Missing {
    Compiler,
    /// No bpf-linker whose LLVM reads what this compiler writes.
    Linker(Compiler),
}

impl Toolchain {
    /// The first way that is complete, Debian's before rustup's.
    pub fn find() -> Result<Self, Missing> {
        let compilers = Compiler::all();
        for compiler in &compilers {
            if let Some(linker) = linker_for(compiler) {
                let compiler = compiler.clone();
                return Ok(Self { compiler, linker });
            }
        }
        let first = compilers.into_iter().next();
        Err(first.map_or(Missing::Compiler, Missing::Linker))
    }
}

impl Compiler {
    /// The compilers of this machine that can make BPF objects.
    #[must_use]
    pub fn all() -> Vec<Self> {
        [Self::debian(), Self::nightly()].into_iter().flatten().collect()
    }

    fn debian() -> Option<Self> {
        let rustc = PathBuf::from(DEBIAN_RUSTC);
        let core = rustlib(&rustc)?.join(TARGET).join("lib");
        has_entry(&core, "libcore-").then_some(())?;
        let llvm = llvm_of(&rustc)?;
        let way = Way::Debian;
        Some(Self { way, rustc, llvm })
    }

    fn nightly() -> Option<Self> {
        let mut rustup = Command::new("rustup");
        rustup.args(["which", "--toolchain", "nightly", "rustc"]);
        let rustc = PathBuf::from(answer(&mut rustup)?);
        let source = rustlib(&rustc)?.join("src/rust/library/core");
        source.is_dir().then_some(())?;
        let llvm = llvm_of(&rustc)?;
        let way = Way::Nightly;
        Some(Self { way, rustc, llvm })
    }

    /// Whether this compiler knows `feature` of the BPF target.
    #[must_use]
    pub fn knows(&self, feature: &str) -> bool {
        let mut rustc = Command::new(&self.rustc);
        rustc.args(["--print", "target-features", "--target", TARGET]);
        answer(&mut rustc).is_some_and(|list| {
            list.lines().any(|line| line.split_whitespace().next() == Some(feature))
        })
    }
}

/// Where [`crate::setup`] puts a linker when the one on the path serves another compiler.
#[must_use]
pub fn own_tools() -> PathBuf {
    target().join("tools")
}

/// `bin` of cargo's home, whether or not it is on the path.
#[must_use]
pub fn cargo_bin() -> Option<PathBuf> {
    std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")))
        .map(|home| home.join("bin"))
}

/// Every `name` on the path, then those in the places where `cargo install` puts things.
pub fn programs(name: &str) -> impl Iterator<Item = PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<_> = std::env::split_paths(&path).collect();
    places.extend(cargo_bin());
    places.extend(["/usr/sbin".into(), "/sbin".into()]);
    places.into_iter().map(move |place| place.join(name)).filter(|program| program.is_file())
}

fn linker_for(compiler: &Compiler) -> Option<PathBuf> {
    std::iter::once(own_tools().join("bin/bpf-linker"))
        .filter(|program| program.is_file())
        .chain(programs("bpf-linker"))
        .find(|linker| reads(linker, compiler.llvm))
}

/// LLVM reads bitcode of its own and of older versions. A linker that has LLVM linked in
/// statically does not tell its version; it is taken at its word.
fn reads(linker: &Path, llvm: u32) -> bool {
    let Some(libraries) = answer(Command::new("ldd").arg(linker)) else {
        return true;
    };
    if libraries.contains("not found") {
        return false;
    }
    libraries
        .split_once("libLLVM.so.")
        .or_else(|| libraries.split_once("libLLVM-"))
        .and_then(|(_, version)| leading_number(version))
        .is_none_or(|linked| linked >= llvm)
}

fn llvm_of(rustc: &Path) -> Option<u32> {
    let version = answer(Command::new(rustc).arg("-vV"))?;
    let (_, llvm) = version.split_once("LLVM version: ")?;
    leading_number(llvm)
}

fn leading_number(text: &str) -> Option<u32> {
    let end = text.find(|c: char| !c.is_ascii_digit());
    text[..end.unwrap_or(text.len())].parse().ok()
}

fn rustlib(rustc: &Path) -> Option<PathBuf> {
    let sysroot = answer(Command::new(rustc).args(["--print", "sysroot"]))?;
    Some(PathBuf::from(sysroot).join("lib/rustlib"))
}

fn has_entry(directory: &Path, prefix: &str) -> bool {
    let Ok(entries) = fs::read_dir(directory) else {
        return false;
    };
    entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nightly => "rustup's nightly, building core from rust-src",
            Self::Debian => "Debian's rustc with its prebuilt core for BPF",
        })
    }
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Compiler { way, rustc, llvm } = &self.compiler;
        let (rustc, linker) = (rustc.display(), self.linker.display());
        write!(f, "{way} ({rustc}, LLVM {llvm}, {linker})")
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compiler => f.write_str("no compiler here makes BPF objects"),
            Self::Linker(compiler) => write!(
                f,
                "no bpf-linker here reads what {} writes (LLVM {})",
                compiler.rustc.display(),
                compiler.llvm
            ),
        }
    }
}

impl std::error::Error for Missing {}
