//! Which file of a crate names what of which other file, read from its syntax tree.
//!
//! A path is followed to the file that defines its item: through modules, through names that a
//! `use` brought in, and through a `pub use` of a module on the way (its façade). Test code is left
//! out: a unit test uses the file that it stands in, and nothing uses a test.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use proc_macro2::Span;
use syn::visit::{self, Visit};

use super::source::Source;

/// A module's names from the root of its crate: `["proxy", "http"]`.
type Path = Vec<String>;

/// The files of one crate and the imports between them.
#[derive(Default)]
pub(super) struct Imports {
    files: Vec<File>,
    by_module: BTreeMap<Path, usize>,
}

struct File {
    /// Its place among all sources.
    source: usize,
    module: Path,
    syntax: syn::File,
    /// Names that it hands on from elsewhere, `pub use child::Name`.
    facade: BTreeMap<String, Path>,
}

/// One file names an item of another.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Import {
    pub from: usize,
    pub to: usize,
    pub line: usize,
    pub name: String,
    /// The module above both whose `pub use` the name was taken from.
    pub through: Option<String>,
}

impl Imports {
    /// The crate whose root is the file at `root` among `sources`; its modules are beside it.
    pub(super) fn of_crate(sources: &[Source], root: usize) -> Result<Self> {
        let mut imports = Self::default();
        imports.add(sources, root, Vec::new())?;
        for at in 0..imports.files.len() {
            let file = &imports.files[at];
            let scope = Scope { imports: &imports, module: file.module.clone() };
            let handed_on = scope.handed_on(&file.syntax.items);
            imports.files[at].facade = handed_on;
        }
        Ok(imports)
    }

    fn add(&mut self, sources: &[Source], source: usize, module: Path) -> Result<()> {
        let place = sources[source].path.display();
        let syntax = syn::parse_file(&sources[source].text).with_context(|| place.to_string())?;
        let children = children(&syntax.items);
        self.by_module.insert(module.clone(), self.files.len());
        self.files.push(File { source, module: module.clone(), syntax, facade: BTreeMap::new() });
        for child in children {
            if let Some(at) = file_of(sources, source, &child) {
                let module = [module.clone(), vec![child]].concat();
                self.add(sources, at, module)?;
            }
        }
        Ok(())
    }

    /// The places of its files among all sources.
    pub(super) fn sources(&self) -> impl Iterator<Item = usize> {
        self.files.iter().map(|file| file.source)
    }

    /// Every import between two of its files, once for each pair and name.
    pub(super) fn all(&self) -> Vec<Import> {
        let mut found = Vec::new();
        for file in &self.files {
            let scope = Scope { imports: self, module: file.module.clone() };
            let mut reader = Reader { scope, aliases: vec![BTreeMap::new()], found: Vec::new() };
            reader.visit_file(&file.syntax);
            let mut seen = BTreeSet::new();
            for (path, line) in reader.found {
                let Some((to, through)) = self.definition(&path) else { continue };
                let name = path.last().cloned().unwrap_or_default();
                if to != file.source && seen.insert((to, name.clone())) {
                    let through = through.filter(|facade| file.module.starts_with(facade));
                    let through = through.map(|facade| display(&facade));
                    found.push(Import { from: file.source, to, line, name, through });
                }
            }
        }
        found
    }

    /// The file that defines what a path from the root names, and the façade on the way to it.
    fn definition(&self, path: &[String]) -> Option<(usize, Option<Path>)> {
        let (module, rest) = self.longest_module(path)?;
        let file = &self.files[module];
        let Some(target) = rest.first().and_then(|name| file.facade.get(name)) else {
            return Some((file.source, None));
        };
        if target.starts_with(path) {
            return Some((file.source, None));
        }
        let (defined, _) = self.definition(target)?;
        Some((defined, Some(file.module.clone())))
    }

    fn longest_module<'a>(&self, path: &'a [String]) -> Option<(usize, &'a [String])> {
        (0..=path.len())
            .rev()
            .find_map(|length| Some((*self.by_module.get(&path[..length])?, &path[length..])))
    }
}

pub(super) fn display(module: &[String]) -> String {
    if module.is_empty() { "the crate's root".into() } else { module.join("::") }
}

/// The modules in files of their own, but for tests.
fn children(items: &[syn::Item]) -> Vec<String> {
    let modules = items.iter().filter_map(|item| match item {
        syn::Item::Mod(module) if module.content.is_none() && !is_test(&module.attrs) => {
            Some(module.ident.to_string())
        }
        _ => None,
    });
    modules.collect()
}

/// The file of `child`, declared in the file at `parent`.
fn file_of(sources: &[Source], parent: usize, child: &str) -> Option<usize> {
    let parent = &sources[parent].path;
    let stem = parent.file_stem()?.to_str()?;
    let beside = parent.parent()?;
    let folder =
        if ["lib", "main", "mod"].contains(&stem) { beside.into() } else { beside.join(stem) };
    let places = [folder.join(format!("{child}.rs")), folder.join(child).join("mod.rs")];
    sources.iter().position(|source| places.contains(&source.path))
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        syn::Meta::Path(path) => path.is_ident("test"),
        syn::Meta::List(list) => {
            list.path.is_ident("cfg") && list.tokens.to_string().starts_with("test")
        }
        syn::Meta::NameValue(_) => false,
    })
}

/// A place from which names are looked up.
struct Scope<'a> {
    imports: &'a Imports,
    module: Path,
}

impl Scope<'_> {
    /// A path as it is written, from the root of the crate. `None`: of another crate, or of this
    /// very module.
    fn absolute(&self, written: &[String], aliases: &[BTreeMap<String, Path>]) -> Option<Path> {
        let (first, rest) = written.split_first()?;
        let mut base = match first.as_str() {
            "crate" => Vec::new(),
            "self" => self.module.clone(),
            "super" => self.module[..self.module.len().checked_sub(1)?].to_vec(),
            name => self.named(name, aliases)?,
        };
        let mut rest = rest;
        while let Some((_, below)) = rest.split_first().filter(|(first, _)| *first == "super") {
            base.pop()?;
            rest = below;
        }
        base.extend_from_slice(rest);
        Some(base)
    }

    /// What a name without a path means: a name that was brought in, or a module below this one.
    fn named(&self, name: &str, aliases: &[BTreeMap<String, Path>]) -> Option<Path> {
        let alias = aliases.iter().rev().find_map(|scope| scope.get(name)).cloned();
        alias.or_else(|| {
            let child = [self.module.clone(), vec![name.to_owned()]].concat();
            self.imports.by_module.contains_key(&child).then_some(child)
        })
    }

    fn handed_on(&self, items: &[syn::Item]) -> BTreeMap<String, Path> {
        let mut names = BTreeMap::new();
        for item in items {
            let syn::Item::Use(item) = item else { continue };
            if matches!(item.vis, syn::Visibility::Inherited) || is_test(&item.attrs) {
                continue;
            }
            for leaf in leaves(&item.tree) {
                if let Some(path) = self.absolute(&leaf.path, &[]) {
                    names.insert(leaf.name, path);
                }
            }
        }
        names
    }
}

/// One name that a `use` brings in.
struct Leaf {
    path: Path,
    name: String,
    span: Span,
}

fn leaves(tree: &syn::UseTree) -> Vec<Leaf> {
    let mut found = Vec::new();
    collect(tree, &mut Vec::new(), &mut found);
    found
}

fn collect(tree: &syn::UseTree, before: &mut Path, found: &mut Vec<Leaf>) {
    let mut add = |last: &syn::Ident, name: &syn::Ident| {
        let mut path = before.clone();
        if last != "self" {
            path.push(last.to_string());
        }
        let own = if name == "self" { path.last().cloned() } else { Some(name.to_string()) };
        found.push(Leaf { path, name: own.unwrap_or_default(), span: last.span() });
    };
    match tree {
        syn::UseTree::Name(leaf) => add(&leaf.ident, &leaf.ident),
        syn::UseTree::Rename(leaf) => add(&leaf.ident, &leaf.rename),
        syn::UseTree::Glob(leaf) => {
            let span = leaf.star_token.span;
            found.push(Leaf { path: before.clone(), name: "*".into(), span });
        }
        syn::UseTree::Path(path) => {
            before.push(path.ident.to_string());
            collect(&path.tree, before, found);
            before.pop();
        }
        syn::UseTree::Group(group) => {
            for tree in &group.items {
                collect(tree, before, found);
            }
        }
    }
}

/// Collects the paths of one file, each from the root of the crate.
struct Reader<'a> {
    scope: Scope<'a>,
    aliases: Vec<BTreeMap<String, Path>>,
    found: Vec<(Path, usize)>,
}

impl Reader<'_> {
    fn bring_in(&mut self, item: &syn::ItemUse) {
        for leaf in leaves(&item.tree) {
            let Some(path) = self.scope.absolute(&leaf.path, &self.aliases) else { continue };
            self.found.push((path.clone(), leaf.span.start().line));
            if let Some(aliases) = self.aliases.last_mut() {
                aliases.insert(leaf.name, path);
            }
        }
    }
}

impl<'a> Visit<'a> for Reader<'_> {
    fn visit_file(&mut self, file: &'a syn::File) {
        // Names count in the whole file, also above the line that brings them in.
        for item in &file.items {
            if let syn::Item::Use(item) = item
                && !is_test(&item.attrs)
            {
                self.bring_in(item);
            }
        }
        visit::visit_file(self, file);
    }

    fn visit_item_use(&mut self, item: &'a syn::ItemUse) {
        self.bring_in(item);
    }

    fn visit_item(&mut self, item: &'a syn::Item) {
        let attributes = match item {
            syn::Item::Mod(item) => &item.attrs,
            syn::Item::Fn(item) => &item.attrs,
            syn::Item::Impl(item) => &item.attrs,
            syn::Item::Use(item) => &item.attrs,
            syn::Item::Struct(item) => &item.attrs,
            _ => &Vec::new(),
        };
        if !is_test(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, module: &'a syn::ItemMod) {
        self.scope.module.push(module.ident.to_string());
        self.aliases.push(BTreeMap::new());
        visit::visit_item_mod(self, module);
        self.aliases.pop();
        self.scope.module.pop();
    }

    /// `pub(super)` names a module and uses nothing of it.
    fn visit_visibility(&mut self, _: &'a syn::Visibility) {}

    fn visit_path(&mut self, path: &'a syn::Path) {
        let written: Path = path.segments.iter().map(|part| part.ident.to_string()).collect();
        if (written.len() > 1 || path.leading_colon.is_none())
            && let Some(found) = self.scope.absolute(&written, &self.aliases)
        {
            let line = path.segments.first().map_or(1, |part| part.ident.span().start().line);
            self.found.push((found, line));
        }
        visit::visit_path(self, path);
    }

    /// Paths in the arguments of macros, which have no syntax tree: `format!("{}", super::name())`.
    fn visit_macro(&mut self, invocation: &'a syn::Macro) {
        let parse = syn::punctuated::Punctuated::<syn::Expr, syn::Token![,]>::parse_terminated;
        if let Ok(arguments) = invocation.parse_body_with(parse) {
            for argument in &arguments {
                // The tree lives only here, and what is found is copied out of it.
                Reader::visit_expr(self, argument);
            }
        }
        visit::visit_macro(self, invocation);
    }
}
