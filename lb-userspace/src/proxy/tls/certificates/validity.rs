//! From when until when a certificate is good.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

const DAY: u64 = 24 * 60 * 60;

/// In seconds of Unix time. Of a chain: when all of its certificates are good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    pub not_before: u64,
    pub not_after: u64,
}

/// How near the end is. Each stage is said once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    #[default]
    Far,
    Month,
    Week,
    Day,
    Over,
}

impl Validity {
    /// `None`: a certificate of the chain cannot be read.
    pub(crate) fn of(chain: &[CertificateDer<'_>]) -> Option<Self> {
        let mut validity = Self { not_before: 0, not_after: u64::MAX };
        for der in chain {
            let (_, certificate) = X509Certificate::from_der(der).ok()?;
            let seconds = |time: i64| u64::try_from(time).unwrap_or(0);
            let Self { not_before, not_after } = &mut validity;
            let one = certificate.validity();
            *not_before = (*not_before).max(seconds(one.not_before.timestamp()));
            *not_after = (*not_after).min(seconds(one.not_after.timestamp()));
        }
        Some(validity)
    }

    pub(crate) fn stage(self, now: SystemTime) -> Stage {
        match self.not_after.checked_sub(unix(now)) {
            None | Some(0) => Stage::Over,
            Some(left) if left <= DAY => Stage::Day,
            Some(left) if left <= 7 * DAY => Stage::Week,
            Some(left) if left <= 30 * DAY => Stage::Month,
            Some(_) => Stage::Far,
        }
    }

    /// What an operator should know: that clients refuse it, or will within 30 days.
    #[must_use]
    pub fn concern(self, now: SystemTime) -> Option<String> {
        let seconds = unix(now);
        if seconds < self.not_before {
            return Some(format!("is not good before {}", date(self.not_before)));
        }
        match self.stage(now) {
            Stage::Far => None,
            Stage::Over => Some(format!("has expired, {}", date(self.not_after))),
            Stage::Month | Stage::Week | Stage::Day => {
                let left = match (self.not_after - seconds).div_ceil(DAY) {
                    1 => "1 day".to_owned(),
                    days => format!("{days} days"),
                };
                Some(format!("expires within {left}, {}", date(self.not_after)))
            }
        }
    }
}

fn unix(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn date(seconds: u64) -> humantime::Rfc3339Timestamp {
    // humantime ends with the year 9999, and X.509 means "no end" by the last second of it.
    const LAST: u64 = 253_402_300_799;
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds.min(LAST)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_told_in_stages() {
        let validity = Validity { not_before: 100 * DAY, not_after: 200 * DAY };
        let at = |day: u64, second: u64| UNIX_EPOCH + Duration::from_secs(day * DAY + second);
        for (now, stage, concern) in [
            (at(99, DAY - 1), Stage::Far, Some("is not good before 1970-04-11T00:00:00Z")),
            (at(100, 0), Stage::Far, None),
            (at(169, DAY - 1), Stage::Far, None),
            (at(170, 0), Stage::Month, Some("expires within 30 days, 1970-07-20T00:00:00Z")),
            (at(193, 0), Stage::Week, Some("expires within 7 days, 1970-07-20T00:00:00Z")),
            (at(199, 0), Stage::Day, Some("expires within 1 day, 1970-07-20T00:00:00Z")),
            (at(200, 0), Stage::Over, Some("has expired, 1970-07-20T00:00:00Z")),
            (at(999, 0), Stage::Over, Some("has expired, 1970-07-20T00:00:00Z")),
        ] {
            assert_eq!(validity.stage(now), stage, "{now:?}");
            assert_eq!(validity.concern(now).as_deref(), concern, "{now:?}");
        }
        let endless = Validity { not_before: 0, not_after: u64::MAX };
        assert_eq!(endless.concern(at(999, 0)), None);
    }
}
