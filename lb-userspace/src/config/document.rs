//! The whole document: its tables are read one by one, then checked against each other.

use std::{path::Path, sync::Arc};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    checks::{between_services, one_service, owners, source_addresses},
    tables::{
        node, pool, proxy, region_groups,
        service::{self, Pools, ServiceDraft},
    },
    text::{
        diagnostic::Diagnostic,
        reader::{List, Report},
        section::Section,
    },
};
use crate::{service::Service, settings::Config};

pub(crate) fn root<'t>(text: &'t str, report: &Report) -> Option<Spanned<DeValue<'t>>> {
    let (root, syntax) = DeTable::parse_recoverable(text);
    // Errors after the first syntax error mostly follow from it.
    if let Some(error) = syntax.iter().min_by_key(|error| error.span().map(|it| it.start)) {
        // At the end it may point past the text.
        let within = |at: usize| at.min(text.len());
        let span = error.span().map_or(0..0, |it| within(it.start)..within(it.end));
        report.push(Diagnostic::new(span, error.message()));
        return None;
    }
    Some(Spanned::new(0..0, DeValue::Table(root.into_inner())))
}

/// Reads the whole. What is written from `objects_from` on are objects of the API.
pub(crate) fn config(
    root: &mut Section<'_>,
    directory: &Path,
    objects_from: usize,
) -> Option<Config> {
    let node = root.required("node", r#"node.interfaces = ["eth0"]"#, node::node);
    let admin = root.optional("admin", node::admin);
    let certificates =
        root.optional("certificates", |it| it.list(|it| proxy::certificate(it, directory)));
    if let Some(certificates) = &certificates {
        proxy::refuse_second_default(certificates, root.report());
    }
    let has_certificates = root.has("certificates");
    let proxy = root.optional("proxy", proxy::proxy);
    let groups =
        root.optional("regions", |it| it.entries(region_groups::group)).unwrap_or_default();
    let pools = root
        .optional("pools", |it| it.entries(|name, value| Some((name.value, pool::pool(value)))));
    let drafts = root.optional("services", |it| it.list(|it| service::draft(it, directory)));
    let pools: Pools<'_> = pools.into_iter().flatten().collect();
    let drafts = drafts.map_or_else(Vec::new, List::into_values);
    let drafts = owners::set_shadowed_aside(drafts, objects_from, root.report());
    region_groups::check(node.as_ref(), &groups, &pools, &drafts, root.report());
    let sources = node.as_ref().and_then(|node| node.sources.as_ref());
    source_addresses::check(sources, &pools, &drafts, root.report());
    let usual = node.as_ref().map(node::ServiceDefaults::of).unwrap_or_default();
    let services = services(drafts, &pools, has_certificates, usual, root.report());
    Some(Config {
        node: node?.build(),
        admin: admin.unwrap_or_else(node::default_admin),
        certificates: certificates.map_or_else(Vec::new, List::into_values),
        proxy: proxy.unwrap_or_else(proxy::default_proxy),
        regions: groups.into_iter().map(region_groups::RegionGroup::build).collect(),
        services,
    })
}

fn services(
    drafts: Vec<ServiceDraft<'_>>,
    pools: &Pools<'_>,
    certificates: bool,
    usual: node::ServiceDefaults,
    report: &Report,
) -> Vec<Arc<Service>> {
    for draft in &drafts {
        one_service::check(draft, pools, certificates, report);
    }
    between_services::check(&drafts, pools, report);
    let built = drafts.into_iter().map(|draft| draft.build(pools, usual, report));
    built.flatten().collect()
}
