//! Names and patterns of interfaces.

use std::{fmt, sync::Arc};

/// The name of an interface, or a pattern of names: `*` matches any characters or none, `?` exactly
/// one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InterfacePattern(Arc<str>);

impl InterfacePattern {
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// Returns whether it is a name, not a pattern.
    #[must_use]
    pub fn is_name(&self) -> bool {
        !self.0.contains(['*', '?'])
    }

    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        matches(self.0.as_bytes(), name.as_bytes())
    }
}

/// Matches a pattern. A star takes as little as possible, and one byte more each time the rest does
/// not match.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern, name) {
        ([b'*', pattern_rest @ ..], _) => {
            (0..=name.len()).any(|taken| matches(pattern_rest, &name[taken..]))
        }
        ([b'?', pattern_rest @ ..], [_, name_rest @ ..]) => matches(pattern_rest, name_rest),
        ([p, pattern_rest @ ..], [n, name_rest @ ..]) => p == n && matches(pattern_rest, name_rest),
        ([], []) => true,
        _ => false,
    }
}

impl fmt::Display for InterfacePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks_stand_for_characters() {
        let cases = [
            ("eth0", "eth0", true),
            ("eth0", "eth01", false),
            ("eth*", "eth", true),
            ("eth*", "eth0.42", true),
            ("eth?", "eth", false),
            ("eth?", "eth7", true),
            ("*p?s0", "enp3s0", true),
            ("*p?s0", "enp3s01", false),
            ("*", "bond0", true),
            ("", "lo", false),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(InterfacePattern::new(pattern).matches(name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn a_name_means_one() {
        assert!(InterfacePattern::new("eth0").is_name());
        assert!(!InterfacePattern::new("eth?").is_name());
    }
}
