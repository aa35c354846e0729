//! `source_addresses`: the addresses of this host in packets to `nat` servers.

use std::net::IpAddr;

use crate::settings::SourceAddresses;

use crate::config::{
    text::reader::{List, Value},
    values::address::anycast,
};

const INTERFACE: &str = "interface";
/// As many source addresses for one server as anybody needs, so that the table has room for several
/// servers.
const MOST: usize = 64;

/// As written.
pub(crate) enum SourcesDraft {
    Interface,
    These(List<IpAddr>),
}

impl SourcesDraft {
    pub(crate) fn build(self) -> SourceAddresses {
        match self {
            Self::Interface => SourceAddresses::Interface,
            Self::These(list) => SourceAddresses::These(list.into_values()),
        }
    }
}

pub(crate) fn source_addresses(value: Value<'_>) -> Option<SourcesDraft> {
    const HELP: &str =
        "write addresses of this host such as [\"10.0.0.5\", \"10.0.0.6\"], or \"interface\"";
    if !value.is_list() {
        let text = value.text_or("a list of addresses, or \"interface\"")?;
        if text == INTERFACE {
            return Some(SourcesDraft::Interface);
        }
        return value.refuse(format!("`{text}` is not a value of `source_addresses`"), HELP);
    }
    let list = value.non_empty_list(HELP, anycast)?;
    if list.items.len() > MOST {
        return value.refuse(format!("`source_addresses` has more than {MOST} addresses"), HELP);
    }
    value.report().refuse_repeats("address", &list.items);
    Some(SourcesDraft::These(list))
}
