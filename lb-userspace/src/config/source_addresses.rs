//! `source_addresses`: which addresses of this host packets to `nat` servers carry.

use std::net::IpAddr;

use crate::settings::SourceAddresses;

use super::{
    address::anycast,
    diagnostic::Diagnostic,
    reader::{List, Report, Value},
    service::{Draft, Pools},
};

const INTERFACE: &str = "interface";
/// As many ends for one port of a server as anybody will need, and room for some pools.
const MOST: usize = 64;

/// As it is written.
pub(super) enum SourcesDraft {
    Interface,
    These(List<IpAddr>),
}

impl SourcesDraft {
    pub(super) fn build(self) -> SourceAddresses {
        match self {
            Self::Interface => SourceAddresses::Interface,
            Self::These(list) => SourceAddresses::These(list.into_values()),
        }
    }
}

pub(super) fn source_addresses(value: Value<'_>) -> Option<SourcesDraft> {
    const HELP: &str =
        "write addresses of this host such as [\"10.0.0.5\", \"10.0.0.6\"], or \"interface\"";
    if !value.is_list() {
        let text = value.text_or("a list of addresses, or \"interface\"")?;
        if text == INTERFACE {
            return Some(SourcesDraft::Interface);
        }
        return value.refuse(format!("`{text}` is not a value of `source_addresses`"), HELP);
    }
    let list = value.some_list(HELP, anycast)?;
    if list.items.len() > MOST {
        return value.refuse(format!("`source_addresses` has more than {MOST} addresses"), HELP);
    }
    value.report().refuse_repeats("address", &list.items);
    Some(SourcesDraft::These(list))
}

/// Answers to an announced address are not ours to find, and a server has its address itself.
pub(super) fn check(
    sources: Option<&SourcesDraft>,
    pools: &Pools<'_>,
    drafts: &[Draft<'_>],
    report: &Report,
) {
    let Some(SourcesDraft::These(list)) = sources else { return };
    for source in &list.items {
        for draft in drafts {
            let mut announced = draft.addresses.iter();
            if let Some(at) = announced.find(|it| it.value == source.value) {
                let message = format!("`{}` in `source_addresses` is announced", source.value);
                report.push(
                    Diagnostic::new(source.span.clone(), message)
                        .related(at.span.clone(), "by this service")
                        .help("write an address of this host that no service has"),
                );
            }
            let servers = draft.find_pool(pools).map(|pool| &pool.servers.items);
            let mut servers = servers.into_iter().flatten().map(|server| &server.value.address);
            if let Some(at) = servers.find(|it| it.value == source.value) {
                let message = format!("`{}` in `source_addresses` is a server's", source.value);
                report.push(
                    Diagnostic::new(source.span.clone(), message)
                        .related(at.span.clone(), "given here")
                        .help("write an address of this host"),
                );
            }
        }
    }
}
