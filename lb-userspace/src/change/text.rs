//! Values of settings, as an operator writes them.

use std::{
    fmt::Display, net::IpAddr, ops::RangeInclusive, path::PathBuf, sync::Arc, time::Duration,
};

use ipnet::IpNet;

/// A value as text.
pub(super) trait AsText {
    fn text(&self) -> String;
}

macro_rules! by_display {
    ($($kind:ty),*) => {
        $(impl AsText for $kind {
            fn text(&self) -> String {
                self.to_string()
            }
        })*
    };
}

by_display!(
    u16,
    u32,
    u64,
    usize,
    bool,
    IpAddr,
    IpNet,
    Arc<str>,
    crate::interface::InterfacePattern
);

impl AsText for Duration {
    fn text(&self) -> String {
        humantime::format_duration(*self).to_string()
    }
}

impl AsText for PathBuf {
    fn text(&self) -> String {
        self.display().to_string()
    }
}

impl AsText for RangeInclusive<u16> {
    fn text(&self) -> String {
        format!("{}-{}", self.start(), self.end())
    }
}

impl<T: AsText> AsText for Option<T> {
    fn text(&self) -> String {
        self.as_ref().map_or_else(|| "none".to_owned(), AsText::text)
    }
}

impl<T: AsText> AsText for Vec<T> {
    fn text(&self) -> String {
        match &self[..] {
            [] => "none".to_owned(),
            all => joined(all.iter().map(AsText::text)),
        }
    }
}

fn joined(texts: impl Iterator<Item = impl Display>) -> String {
    texts.map(|text| text.to_string()).collect::<Vec<_>>().join(", ")
}

/// Returns `count` things in words.
pub(super) fn counted(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}
