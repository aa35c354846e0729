//! Values by the names that they have in a configuration.

/// Returns what `value` is called, of the `named`.
pub(super) fn name_of<T: PartialEq>(value: T, named: &[(&'static str, T)]) -> &'static str {
    named.iter().find(|(_, it)| *it == value).map_or("unknown", |(name, _)| *name)
}
