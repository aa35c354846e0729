//! A short run of `cargo xtask torture`.

use anyhow::{Result, ensure};
use lb_tests::{
    lab::interrupt::Interrupt,
    torture::{self, Extent},
};

#[test]
fn nothing_fails_while_everything_changes() -> Result<()> {
    let extent = Extent { seconds: 8, reloads: 50, seed: 3 };
    let report = torture::run(extent, &Interrupt::catch()?)?;
    ensure!(report.is_clean(), "{report}");
    assert_eq!(report.never_served(), [""; 0]);
    Ok(())
}
