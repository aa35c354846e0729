//! Checks of `source_addresses` against announced addresses and servers.

use crate::config::{
    tables::{
        service::{Pools, ServiceDraft},
        source_addresses::SourcesDraft,
    },
    text::{diagnostic::Diagnostic, reader::Report},
};

/// Refuses addresses that cannot be a source: answers to an announced address would not come to
/// lb's flow, and a server's own address is not this host's.
pub(crate) fn check(
    sources: Option<&SourcesDraft>,
    pools: &Pools<'_>,
    drafts: &[ServiceDraft<'_>],
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
