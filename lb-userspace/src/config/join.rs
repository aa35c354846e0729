//! The file and the objects of the API become one configuration, read and checked as a whole.
//!
//! Objects are put into the tree of the file beside its own, so that the same readers and checks
//! see both.

use std::{
    borrow::Cow,
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use toml::{
    Spanned,
    de::{DeArray, DeTable, DeValue},
};

use super::{
    document,
    text::{
        diagnostic::{Diagnostic, Errors},
        json,
        named_file::NamedFile,
        reader::{Report, Value},
        texts::Texts,
    },
};
use crate::{
    objects::{Kind, Object, ObjectId, Violation},
    settings::Config,
};

/// The text of a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileText {
    pub path: PathBuf,
    pub text: Arc<str>,
}

/// A configuration, and what is not part of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Joined {
    pub config: Config,
    /// Objects that wait until the file lets go of their name, or of their address, port and host
    /// name.
    pub shadowed: Vec<Shadowed>,
    /// Why others are not part of it, though they may be: see [`join_what_fits`].
    pub left_out: Vec<Violation>,
}

/// An object, and what of the file's it conflicts with.
#[derive(Clone, Debug, PartialEq)]
pub struct Shadowed {
    pub object: ObjectId,
    pub by: Violation,
}

/// Joins `file` and `objects`. `examine` returns what is wrong with a file that the configuration
/// names, in an object or (`None`) in the configuration file.
///
/// # Errors
/// Every mistake in any of them; where the file is no TOML, the first place at which it is not.
pub fn join(
    file: &FileText,
    objects: &[Arc<Object>],
    examine: impl Fn(Option<&ObjectId>, &NamedFile) -> Vec<String>,
) -> Result<Joined, Errors> {
    let report = Report::default();
    let texts = Texts::file(&file.path, &file.text).with_objects(objects);
    let directory = file.path.parent().unwrap_or(Path::new(""));
    let config = read(&texts, directory, &report);
    report.check_files(|span, named| {
        let object = texts.find(span.start).object.as_ref();
        examine(object.map(|object| &object.id), named)
    });
    let shadowed = report.take_shadowed();
    let diagnostics = report.into_diagnostics();
    match config {
        Some(config) if diagnostics.is_empty() => {
            let shadowed = shadowed.iter().filter_map(|it| self::shadowed(it, &texts)).collect();
            Ok(Joined { config, shadowed, left_out: Vec::new() })
        }
        _ => Err(Errors::new(texts, diagnostics)),
    }
}

/// Like [`join`], but leaves out those of `optional` that do not fit, and returns why.
///
/// # Errors
/// As of [`join`], in what must fit.
pub fn join_what_fits(
    file: &FileText,
    objects: &[Arc<Object>],
    optional: &BTreeSet<ObjectId>,
    examine: impl Fn(Option<&ObjectId>, &NamedFile) -> Vec<String>,
) -> Result<Joined, Errors> {
    let mut objects = objects.to_vec();
    let mut left_out = Vec::new();
    loop {
        let errors = match join(file, &objects, &examine) {
            Ok(joined) => return Ok(Joined { left_out, ..joined }),
            Err(errors) => errors,
        };
        let violations = errors.violations();
        let concerned: BTreeSet<_> = violations
            .iter()
            .flat_map(Violation::objects)
            .filter(|it| optional.contains(it))
            .collect();
        if concerned.is_empty() {
            return Err(errors);
        }
        objects.retain(|object| !concerned.contains(&object.id));
        let why = violations.iter().filter(|it| it.objects().any(|it| concerned.contains(it)));
        left_out.extend(why.cloned());
    }
}

fn read(texts: &Texts, directory: &Path, report: &Report) -> Option<Config> {
    let mut root = document::root(texts.text(), report)?;
    if let DeValue::Table(tables) = root.get_mut() {
        add_objects(tables, texts, report);
    }
    let from = texts.objects_from();
    Value::new("", &root, report).section(|root| document::config(root, directory, from))
}

/// Adds the objects to the file's tables. A table that is something else is reported when it is
/// read.
fn add_objects<'t>(tables: &mut DeTable<'t>, texts: &'t Texts, report: &Report) {
    for (source, object) in texts.objects() {
        let tree = json::tree(&object.body, &source.text, source.start);
        let kind = object.id.kind;
        let span = tree.span();
        if !tables.contains_key(kind.name()) {
            let none = match kind {
                Kind::Pools => DeValue::Table(DeTable::new()),
                Kind::Services | Kind::Certificates => DeValue::Array(DeArray::new()),
            };
            let key = Spanned::new(span.clone(), Cow::Borrowed(kind.name()));
            tables.insert(key, Spanned::new(span.clone(), none));
        }
        match tables.get_mut(kind.name()).map(Spanned::get_mut) {
            Some(DeValue::Array(list)) => list.push(tree),
            Some(DeValue::Table(table)) => match table.get_key_value(&*object.id.name) {
                None => {
                    let key = Cow::Borrowed(&*object.id.name);
                    table.insert(Spanned::new(span, key), tree);
                }
                Some((first, _)) => {
                    let message = format!("the file has a pool `{}` too", object.id.name);
                    report.shadow(
                        Diagnostic::new(span, message)
                            .related(first.span(), "its owner is the file")
                            .help("choose another name, or remove it from the file"),
                    );
                }
            },
            _ => {}
        }
    }
}

fn shadowed(conflict: &Diagnostic, texts: &Texts) -> Option<Shadowed> {
    let object = texts.find(conflict.span.start).object.as_ref()?;
    Some(Shadowed { object: object.id.clone(), by: conflict.violation(texts) })
}
