//! A short run of `cargo xtask fuzz`.

use anyhow::{Result, ensure};
use lb_tests::fuzz_xdp;

#[test]
fn the_loaded_program_decides_as_the_library_does() -> Result<()> {
    let report = fuzz_xdp::run(15_000, 1, 3)?;
    ensure!(report.failures.is_empty(), "{report}");
    for verdict in ["steer", "pass", "proxy", "reply", "answer too_big", "fragment_early"] {
        ensure!(report.times(verdict) > 0, "no frame was {verdict}: {report}");
    }
    Ok(())
}
