//! `[regions]`: groups of regions, and the check that their names differ from those of regions.

use std::{collections::HashMap, sync::Arc};

use super::{
    node::NodeDraft,
    pool::PoolDraft,
    service::{PoolChoice, Pools, ServiceDraft},
};
use crate::config::{
    text::{
        diagnostic::{Diagnostic, Span},
        reader::{At, List, Report, Value},
        scalar::{NAME_RULE, is_name},
    },
    values::regions::{ANY, regions},
};

pub(crate) struct RegionGroup {
    name: At<Arc<str>>,
    regions: List<Arc<str>>,
}

impl RegionGroup {
    pub(crate) fn build(self) -> (Arc<str>, Vec<Arc<str>>) {
        (self.name.value, self.regions.into_values())
    }
}

pub(crate) fn group(name: &At<&str>, value: Value<'_>) -> Option<RegionGroup> {
    let refuse = |message: &str, help: &str| {
        let message = format!("`{}` {message}", name.value);
        value.report().push(Diagnostic::new(name.span.clone(), message).help(help));
    };
    if name.value == ANY {
        refuse(
            "cannot be the name of a group",
            "`any` stands for every region without being listed",
        );
    } else if !is_name(name.value) {
        refuse("in `regions` is not a name", NAME_RULE);
    }
    value
        .non_empty_list("a group has at least one region: us = [\"iad\", \"ord\"]", |_| Some(()))?;
    let name = At { value: name.value.into(), span: name.span.clone() };
    Some(RegionGroup { name, regions: regions(value)? })
}

pub(crate) fn check(
    node: Option<&NodeDraft>,
    groups: &[RegionGroup],
    pools: &Pools<'_>,
    drafts: &[ServiceDraft<'_>],
    report: &Report,
) {
    if let Some(node) = node {
        check_nearby(node, groups, report);
    }
    let homes = homes(node, pools, drafts);
    for group in groups {
        check_group(group, groups, &homes, report);
    }
}

fn check_nearby(node: &NodeDraft, groups: &[RegionGroup], report: &Report) {
    for near in &node.nearby.items {
        let group = groups.iter().find(|group| group.name.value == near.value);
        let own = node.region.as_ref().filter(|own| own.value == near.value);
        let mistake = Diagnostic::new(
            near.span.clone(),
            match (own, group) {
                (Some(_), _) => format!("`{}` in `nearby` is this node's own region", near.value),
                (None, Some(_)) => format!("`{}` in `nearby` is a group", near.value),
                (None, None) => continue,
            },
        );
        report.push(match (own, group) {
            (Some(own), _) => mistake
                .related(own.span.clone(), "where the node is")
                .help("remove it: what is here is nearest"),
            (None, group) => mistake
                .related(group.map_or(0..0, |group| group.name.span.clone()), "the group")
                .help("write its regions, the nearest first"),
        });
    }
}

fn check_group(
    group: &RegionGroup,
    all: &[RegionGroup],
    homes: &HashMap<&str, &Span>,
    report: &Report,
) {
    let name = &group.name;
    if let Some(home) = homes.get(&*name.value) {
        report.push(
            Diagnostic::new(name.span.clone(), format!("`{}` is a region, too", name.value))
                .related((*home).clone(), "a node or server is in it")
                .help("give the group another name: one of the two would hide the other"),
        );
    }
    for inner in &group.regions.items {
        let Some(other) = all.iter().find(|other| other.name.value == inner.value) else {
            continue;
        };
        let message = format!("`{}` is a group, and groups have no groups in them", inner.value);
        report.push(
            Diagnostic::new(inner.span.clone(), message)
                .related(other.name.span.clone(), "the group")
                .help("write its regions"),
        );
    }
}

/// Returns names that certainly are regions, each with one place where a node or a server is in it.
fn homes<'d>(
    node: Option<&'d NodeDraft>,
    pools: &'d Pools<'_>,
    drafts: &'d [ServiceDraft<'_>],
) -> HashMap<&'d str, &'d Span> {
    let inline = drafts.iter().filter_map(|draft| match draft.pool.as_ref()? {
        PoolChoice::Inline(pool) => Some(pool),
        PoolChoice::Named(_) => None,
    });
    let regions = |pool: &'d PoolDraft| {
        pool.servers.items.iter().filter_map(|server| server.value.region.as_ref())
    };
    let servers = pools.values().flatten().chain(inline).flat_map(regions);
    let node = node.and_then(|node| node.region.as_ref());
    let homes = servers.chain(node);
    homes.map(|region| (&*region.value, &region.span)).collect()
}
