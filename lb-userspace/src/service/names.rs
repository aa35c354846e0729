//! Looks up the configuration's names of values.

/// Returns the name of `value` in `named`.
pub(super) fn name_of<T: PartialEq>(value: T, named: &[(&'static str, T)]) -> &'static str {
    named.iter().find(|(_, it)| *it == value).map_or("unknown", |(name, _)| *name)
}
