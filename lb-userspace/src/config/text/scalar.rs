//! Scalars of the configuration: names, durations, ports, paths.

use std::{
    num::NonZeroU16,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::reader::Value;

/// The bounds of a timer: it must not busy-loop, and sums of instants must not overflow.
const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

const DURATION: &str = "a duration in quotes such as \"5s\", \"500ms\" or \"1m30s\"";

/// Reads a duration in the syntax of humantime: `5s`, `500ms`, `1m30s`.
pub(crate) fn duration(value: Value<'_>) -> Option<Duration> {
    let text = value.text_or(DURATION)?;
    let key = value.key();
    let Ok(duration) = humantime::parse_duration(text) else {
        return value
            .refuse(format!("`{text}` in `{key}` is not a duration"), format!("write {DURATION}"));
    };
    if duration < SHORTEST {
        return value.refuse(
            format!("`{key}` must not be zero or shorter than a millisecond"),
            format!("write {DURATION}"),
        );
    }
    if duration > LONGEST {
        return value.refuse(
            format!("`{key}` must not be longer than a year"),
            format!("write {DURATION}"),
        );
    }
    Some(duration)
}

/// Reads a name that may be used in headers, logs and metrics as it is.
pub(crate) fn name(value: Value<'_>) -> Option<Arc<str>> {
    let text = value.text()?;
    if is_name(text) {
        return Some(text.into());
    }
    value.refuse(format!("`{text}` in `{}` is not a name", value.key()), NAME_RULE)
}

pub(crate) const NAME_RULE: &str =
    "write 1 to 63 letters, digits, `-`, `_` or `.`, beginning with a letter or digit";

pub(crate) fn is_name(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    text.len() <= 63
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(inner)
}

pub(crate) fn port(value: Value<'_>) -> Option<NonZeroU16> {
    NonZeroU16::new(value.number(1..=u16::MAX)?)
}

/// Reads a path of the daemon's own, which must not depend on the working directory.
pub(crate) fn absolute_path(value: Value<'_>) -> Option<PathBuf> {
    let text = value.text()?;
    if Path::new(text).is_absolute() && !text.contains('\0') {
        return Some(text.into());
    }
    value.refuse(
        format!("`{}` must be an absolute path", value.key()),
        "write a path that begins with `/`",
    )
}
