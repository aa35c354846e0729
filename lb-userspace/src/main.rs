//! The `lb` program.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// A request takes and returns a few dozen small pieces of memory, always on the same thread.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    lb::cli::main()
}
