//! From a file's text to a validated [`Config`].

use std::{fs, path::Path, sync::Arc};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    checks::{between_services, one_service, source_addresses},
    tables::{
        node, pool, proxy, region_groups,
        service::{self, Draft, Pools},
    },
    text::{
        diagnostic::{Diagnostic, Errors},
        load_error::LoadError,
        named_file::NamedFile,
        reader::{List, Report, Value},
        section::Section,
    },
};
use crate::settings::Config;

/// Reads and validates the file at `path`.
///
/// # Errors
/// The file cannot be read, is not text, or is not a valid configuration.
pub fn load(path: &Path) -> Result<Config, LoadError> {
    load_examined(path, |_| Vec::new())
}

/// Reads and validates the file at `path`, and has `examine` say what is wrong with each file that
/// it names.
///
/// # Errors
/// As of [`load`], or something is wrong with one of them.
pub fn load_examined(
    path: &Path,
    examine: impl Fn(&NamedFile) -> Vec<String>,
) -> Result<Config, LoadError> {
    let text = read_text(path)?;
    Ok(parse_examined(path, &text, examine)?)
}

pub(crate) fn read_text(path: &Path) -> Result<String, LoadError> {
    let bytes =
        fs::read(path).map_err(|source| LoadError::Read { path: path.to_owned(), source })?;
    String::from_utf8(bytes).map_err(|error| {
        let source = error.utf8_error();
        LoadError::NotText { path: path.to_owned(), source }
    })
}

/// Validates `text`. `path` names it in errors, and relative paths in it start at its directory.
///
/// # Errors
/// Every mistake in the text; where it is no TOML, the first place at which it is not.
pub fn parse(path: &Path, text: &str) -> Result<Config, Errors> {
    parse_examined(path, text, |_| Vec::new())
}

fn parse_examined(
    path: &Path,
    text: &str,
    examine: impl Fn(&NamedFile) -> Vec<String>,
) -> Result<Config, Errors> {
    let report = Report::default();
    let config = read(path, text, &report);
    report.examine_files(examine);
    let diagnostics = report.into_diagnostics();
    match config {
        Some(config) if diagnostics.is_empty() => Ok(config),
        _ => Err(Errors::new(path.to_owned(), text, diagnostics)),
    }
}

fn read(path: &Path, text: &str, report: &Report) -> Option<Config> {
    let root = root(text, report)?;
    let directory = path.parent().unwrap_or(Path::new(""));
    Value::new("", &root, report).section(|root| config(root, directory))
}

pub(crate) fn root<'t>(text: &'t str, report: &Report) -> Option<Spanned<DeValue<'t>>> {
    let (root, syntax) = DeTable::parse_recoverable(text);
    // What follows the first syntax error is mostly its echo.
    if let Some(error) = syntax.iter().min_by_key(|error| error.span().map(|it| it.start)) {
        let span = error.span().unwrap_or(0..0);
        report.push(Diagnostic::new(span, error.message()));
        return None;
    }
    Some(Spanned::new(0..0, DeValue::Table(root.into_inner())))
}

fn config(root: &mut Section<'_>, directory: &Path) -> Option<Config> {
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
    region_groups::check(node.as_ref(), &groups, &pools, &drafts, root.report());
    let sources = node.as_ref().and_then(|node| node.sources.as_ref());
    source_addresses::check(sources, &pools, &drafts, root.report());
    let usual = node.as_ref().map(node::Usual::of).unwrap_or_default();
    let services = services(drafts, &pools, has_certificates, usual, root.report());
    Some(Config {
        node: node?.build(),
        admin: admin.unwrap_or_else(node::default_admin),
        certificates: certificates.map_or_else(Vec::new, List::into_values),
        proxy: proxy.unwrap_or_else(proxy::default_proxy),
        regions: groups.into_iter().map(region_groups::Group::build).collect(),
        services,
    })
}

fn services(
    drafts: Vec<Draft<'_>>,
    pools: &Pools<'_>,
    certificates: bool,
    usual: node::Usual,
    report: &Report,
) -> Vec<Arc<crate::service::Service>> {
    for draft in &drafts {
        one_service::check(draft, pools, certificates, report);
    }
    between_services::check(&drafts, pools, report);
    let built = drafts.into_iter().map(|draft| draft.build(pools, usual, report));
    built.flatten().collect()
}
