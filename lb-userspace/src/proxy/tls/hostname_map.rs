//! Values found by hostname: the exact name, then the closest wildcard, then whatever serves any.

use std::{borrow::Cow, collections::HashMap, iter};

/// A map from hostnames, `*.parent` wildcards and "any name" to values.
pub(crate) struct ByName<T> {
    exact: HashMap<Box<str>, T>,
    /// By parent: `*.example.com` is under `example.com`.
    wildcard: HashMap<Box<str>, T>,
    any: Option<T>,
}

impl<T> Default for ByName<T> {
    fn default() -> Self {
        Self { exact: HashMap::new(), wildcard: HashMap::new(), any: None }
    }
}

impl<T> ByName<T> {
    /// The value under `pattern` (`name`, `*.parent`, or `None` for any name), to be filled in.
    pub(crate) fn entry(&mut self, pattern: Option<&str>) -> Slot<'_, T> {
        let Some(pattern) = pattern else {
            return Slot::Any(&mut self.any);
        };
        match pattern.strip_prefix("*.") {
            Some(parent) => Slot::Named(self.wildcard.entry(normal(parent).into())),
            None => Slot::Named(self.exact.entry(normal(pattern).into())),
        }
    }

    /// A wildcard stands for one label or more, the closest parent wins.
    pub(crate) fn find(&self, name: Option<&str>) -> Option<&T> {
        self.find_named(name, usize::MAX).or(self.any.as_ref())
    }

    /// As certificates have it: a wildcard stands for exactly one label (RFC 9525 6.3).
    pub(crate) fn find_one_label(&self, name: Option<&str>) -> Option<&T> {
        self.find_named(name, 1)
    }

    /// Each as often as it has names.
    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.exact.values().chain(self.wildcard.values()).chain(&self.any)
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.exact.values_mut().chain(self.wildcard.values_mut()).chain(&mut self.any)
    }

    fn find_named(&self, name: Option<&str>, depth: usize) -> Option<&T> {
        let name = normal(name?);
        let exact = self.exact.get(&*name);
        if exact.is_some() || self.wildcard.is_empty() {
            return exact;
        }
        parents(&name).take(depth).find_map(|parent| self.wildcard.get(parent))
    }
}

/// A place for a value, taken or free.
pub(crate) enum Slot<'a, T> {
    Named(std::collections::hash_map::Entry<'a, Box<str>, T>),
    Any(&'a mut Option<T>),
}

impl<'a, T> Slot<'a, T> {
    pub(crate) fn or_insert_with(self, value: impl FnOnce() -> T) -> &'a mut T {
        match self {
            Self::Named(entry) => entry.or_insert_with(value),
            Self::Any(any) => any.get_or_insert_with(value),
        }
    }
}

fn parents(name: &str) -> impl Iterator<Item = &str> {
    let parent = |name: &str| -> Option<usize> { name.find('.').map(|dot| dot + 1) };
    iter::successors(parent(name), move |&at| parent(&name[at..]).map(|next| at + next))
        .map(move |at| &name[at..])
}

/// Lower case, without the root's dot.
fn normal(name: &str) -> Cow<'_, str> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_beats_close_wildcard_beats_far_wildcard_beats_any() {
        let mut names = ByName::default();
        for pattern in ["app.example.com", "*.example.com", "*.com"] {
            names.entry(Some(pattern)).or_insert_with(|| pattern);
        }
        names.entry(None).or_insert_with(|| "any");
        for (name, expected) in [
            (Some("app.example.com"), "app.example.com"),
            (Some("APP.Example.com."), "app.example.com"),
            (Some("a.b.example.com"), "*.example.com"),
            (Some("example.com"), "*.com"),
            (Some("example.org"), "any"),
            (Some("com"), "any"),
            (None, "any"),
        ] {
            assert_eq!(names.find(name), Some(&expected), "{name:?}");
        }
    }

    #[test]
    fn a_certificates_wildcard_is_one_label() {
        let mut names = ByName::default();
        names.entry(Some("*.example.com")).or_insert_with(|| ());
        assert!(names.find_one_label(Some("a.example.com")).is_some());
        assert!(names.find_one_label(Some("a.b.example.com")).is_none());
        assert!(names.find_one_label(Some("example.com")).is_none());
        assert!(names.find_one_label(None).is_none());
    }
}
