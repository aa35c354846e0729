//! What the kernel's verifier went through for each program.

use anyhow::Result;
use aya::programs::loaded_programs;

/// Prints it for those that are loaded now.
pub(super) fn print() -> Result<()> {
    for program in loaded_programs() {
        let program = program?;
        let name = program.name_as_str().unwrap_or_default();
        let Some(count) = program.verified_instruction_count() else { continue };
        if name.starts_with("lb_") {
            println!("        {name:<20} {count:>7} instructions verified");
        }
    }
    Ok(())
}
