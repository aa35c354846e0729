//! Checks privileges before anything is changed.

use std::fs;

use anyhow::{Context as _, bail};

const STATUS: &str = "/proc/self/status";

/// Bits of the effective set (include/uapi/linux/capability.h).
const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

/// # Errors
///
/// Capabilities are missing. The text names them, and says how to get them.
pub(crate) fn check(command: &str) -> anyhow::Result<()> {
    let status = fs::read_to_string(STATUS).with_context(|| format!("cannot read {STATUS}"))?;
    let effective = parse_effective(&status).with_context(|| format!("no CapEff in {STATUS}"))?;
    let missing = missing(effective);
    if !missing.is_empty() {
        bail!(
            "{command} needs root, or the capabilities CAP_NET_ADMIN, CAP_BPF and CAP_PERFMON \
             (missing: {}): try `sudo {command} …`",
            missing.join(", ")
        );
    }
    Ok(())
}

fn parse_effective(status: &str) -> Option<u64> {
    let mut lines = status.lines();
    let set = lines.find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(set.trim(), 16).ok()
}

/// CAP_SYS_ADMIN includes the two that were split off it in Linux 5.8.
fn missing(effective: u64) -> Vec<&'static str> {
    let has = |capability: u32| effective & (1 << capability) != 0;
    let needed = [
        ("CAP_NET_ADMIN", has(CAP_NET_ADMIN)),
        ("CAP_BPF", has(CAP_BPF) || has(CAP_SYS_ADMIN)),
        ("CAP_PERFMON", has(CAP_PERFMON) || has(CAP_SYS_ADMIN)),
    ];
    let missing = needed.into_iter().filter(|(_, has)| !has);
    missing.map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_effective_set_is_read() {
        let status = "Name:\tlb\nCapPrm:\t0000000000000000\nCapEff:\t000001ffffffffff\n";
        assert_eq!(parse_effective(status), Some(0x1ff_ffff_ffff));
        assert_eq!(parse_effective("Name:\tlb\n"), None);
    }

    #[test]
    fn what_is_missing_is_named() {
        assert!(missing(0x1ff_ffff_ffff).is_empty());
        assert!(missing(1 << CAP_NET_ADMIN | 1 << CAP_SYS_ADMIN).is_empty());
        assert!(missing(1 << CAP_NET_ADMIN | 1 << CAP_BPF | 1 << CAP_PERFMON).is_empty());
        assert_eq!(missing(1 << CAP_BPF), ["CAP_NET_ADMIN", "CAP_PERFMON"]);
        assert_eq!(missing(0).len(), 3);
    }
}
