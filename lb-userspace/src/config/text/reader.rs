//! A typed reader of the TOML tree that collects every mistake and continues.
//!
//! A function that returns `None` here has reported why. serde's derive would stop at the first
//! mistake.

#[cfg(test)]
use std::collections::BTreeSet;
use std::{cell::RefCell, collections::HashMap, fmt::Display, hash::Hash, ops::RangeInclusive};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    diagnostic::{Diagnostic, Span},
    named_file::NamedFile,
};

/// Collects the mistakes, and the files that the configuration names.
#[derive(Default)]
pub(crate) struct Report {
    diagnostics: RefCell<Vec<Diagnostic>>,
    files: RefCell<Vec<At<NamedFile>>>,
    /// Services of the API that the file leaves no room for, by where they are written.
    shadowed: RefCell<Vec<Diagnostic>>,
    /// Every key that a section was asked for, with that section's name.
    #[cfg(test)]
    asked: RefCell<BTreeSet<(String, &'static str)>>,
}

impl Report {
    pub(crate) fn push(&self, diagnostic: Diagnostic) {
        self.diagnostics.borrow_mut().push(diagnostic);
    }

    /// Notes that the file has what an object of the API would have.
    pub(crate) fn shadow(&self, conflict: Diagnostic) {
        self.shadowed.borrow_mut().push(conflict);
    }

    pub(crate) fn take_shadowed(&self) -> Vec<Diagnostic> {
        self.shadowed.take()
    }

    pub(crate) fn name(&self, file: At<NamedFile>) {
        self.files.borrow_mut().push(file);
    }

    /// Reports what `examine` finds in the named files.
    pub(crate) fn check_files(&self, examine: impl Fn(&Span, &NamedFile) -> Vec<String>) {
        for file in &*self.files.borrow() {
            for found in examine(&file.span, &file.value) {
                self.push(Diagnostic::new(file.span.clone(), found));
            }
        }
    }

    pub(crate) fn into_diagnostics(self) -> Vec<Diagnostic> {
        self.diagnostics.into_inner()
    }

    #[cfg(test)]
    pub(crate) fn record_asked(&self, section: &str, key: &'static str) {
        self.asked.borrow_mut().insert((section.to_owned(), key));
    }

    #[cfg(test)]
    pub(crate) fn asked(&self) -> BTreeSet<(String, &'static str)> {
        self.asked.borrow().clone()
    }

    /// Reports every item that repeats an earlier one.
    pub(crate) fn refuse_repeats<'t, T: Eq + Hash + Display + 't>(
        &self,
        what: &str,
        items: impl IntoIterator<Item = &'t At<T>>,
    ) {
        let mut seen = HashMap::new();
        for item in items {
            let Some(first) = seen.insert(&item.value, &item.span) else {
                continue;
            };
            let message = format!("{what} `{}` is given twice", item.value);
            self.push(
                Diagnostic::new(item.span.clone(), message)
                    .related(first.clone(), "first given here")
                    .help("remove or change one of the two"),
            );
        }
    }
}

/// A value and where it is written.
#[derive(Clone, Debug)]
pub(crate) struct At<T> {
    pub value: T,
    pub span: Span,
}

/// The valid items of an array.
pub(crate) struct List<T> {
    pub items: Vec<At<T>>,
    /// Whether all items are valid.
    pub whole: bool,
}

impl<T> List<T> {
    pub(crate) fn into_values(self) -> Vec<T> {
        self.items.into_iter().map(|item| item.value).collect()
    }
}

/// A value of the tree, and the key that names it in messages.
#[derive(Clone, Copy)]
pub(crate) struct Value<'a> {
    pub(crate) key: &'a str,
    pub(crate) node: &'a Spanned<DeValue<'a>>,
    pub(crate) report: &'a Report,
}

impl<'a> Value<'a> {
    pub(crate) fn new(key: &'a str, node: &'a Spanned<DeValue<'a>>, report: &'a Report) -> Self {
        Self { key, node, report }
    }

    pub(crate) fn key(self) -> &'a str {
        self.key
    }

    pub(crate) fn span(self) -> Span {
        self.node.span()
    }

    pub(crate) fn report(self) -> &'a Report {
        self.report
    }

    pub(crate) fn at<T>(self, value: T) -> At<T> {
        At { value, span: self.span() }
    }

    /// Reports what is wrong with this value and what would be valid.
    pub(crate) fn refuse<T>(
        self,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Option<T> {
        self.report.push(Diagnostic::new(self.span(), message).help(help));
        None
    }

    fn wrong_type<T>(self, expected: &str) -> Option<T> {
        let found = type_name(self.node.get_ref());
        self.report.push(Diagnostic::new(
            self.span(),
            format!("`{}` must be {expected}, found {found}", self.key),
        ));
        None
    }

    pub(crate) fn text(self) -> Option<&'a str> {
        self.text_or("text in quotes")
    }

    /// Reads text, where the name of the type alone would not say what to write.
    pub(crate) fn text_or(self, expected: &str) -> Option<&'a str> {
        match self.node.get_ref().as_str() {
            Some(text) => Some(text),
            None => self.wrong_type(expected),
        }
    }

    pub(crate) fn is_list(self) -> bool {
        self.node.get_ref().as_array().is_some()
    }

    pub(crate) fn is_boolean(self) -> bool {
        self.node.get_ref().as_bool().is_some()
    }

    pub(crate) fn is_table(self) -> bool {
        self.node.get_ref().as_table().is_some()
    }

    pub(crate) fn is_number(self) -> bool {
        self.node.get_ref().as_integer().is_some()
    }

    pub(crate) fn boolean(self) -> Option<bool> {
        match self.node.get_ref().as_bool() {
            Some(value) => Some(value),
            None => self.wrong_type("true or false"),
        }
    }

    pub(crate) fn number<T>(self, range: RangeInclusive<T>) -> Option<T>
    where
        T: TryFrom<i64> + PartialOrd + Display,
    {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        let Some(written) = self.node.get_ref().as_integer() else {
            return self.wrong_type(&expected);
        };
        let number = i64::from_str_radix(written.as_str(), written.radix())
            .ok()
            .and_then(|number| T::try_from(number).ok())
            .filter(|number| range.contains(number));
        if number.is_none() {
            self.report.push(Diagnostic::new(
                self.span(),
                format!("`{}` must be {expected}, found {written}", self.key),
            ));
        }
        number
    }

    /// Reads one of a fixed set of words. `planned` are words of a later version.
    pub(crate) fn choice<T: Clone>(self, known: &[(&str, T)], planned: &[&str]) -> Option<T> {
        let words: Vec<_> = known.iter().map(|(word, _)| *word).collect();
        let written = self.text_or(&one_of(&words))?;
        if let Some((_, value)) = known.iter().find(|(word, _)| *word == written) {
            return Some(value.clone());
        }
        let key = self.key;
        if planned.contains(&written) {
            let message = format!("`{written}` in `{key}` is not supported yet");
            return self.refuse(message, format!("supported: {}", one_of(&words)));
        }
        let help = match closest(written, &words) {
            Some(word) => format!("did you mean \"{word}\"?"),
            None => format!("write {}", one_of(&words)),
        };
        self.refuse(format!("`{written}` is not a value of `{key}`"), help)
    }

    pub(crate) fn list<T>(self, read: impl Fn(Value<'a>) -> Option<T>) -> Option<List<T>> {
        let Some(array) = self.node.get_ref().as_array() else {
            return self.wrong_type("a list in square brackets");
        };
        let items: Vec<_> = array
            .iter()
            .filter_map(|node| {
                let value = Value { node, ..self };
                read(value).map(|item| value.at(item))
            })
            .collect();
        let whole = items.len() == array.len();
        Some(List { items, whole })
    }

    /// Reads a list that must not be empty; `help` says what to write.
    pub(crate) fn non_empty_list<T>(
        self,
        help: &str,
        read: impl Fn(Value<'a>) -> Option<T>,
    ) -> Option<List<T>> {
        if self.node.get_ref().as_array().is_some_and(|it| it.is_empty()) {
            return self.refuse(format!("`{}` is empty", self.key), help);
        }
        self.list(read)
    }

    pub(crate) fn table(self) -> Option<&'a DeTable<'a>> {
        match self.node.get_ref().as_table() {
            Some(table) => Some(table),
            None => self.wrong_type("a table"),
        }
    }

    /// Reads a table whose keys are the user's own names.
    pub(crate) fn entries<T>(
        self,
        read: impl Fn(&At<&'a str>, Value<'a>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let entries = self.table()?.iter().filter_map(|(key, node)| {
            let name = At { value: key.get_ref().as_ref(), span: key.span() };
            read(&name, Value::new(name.value, node, self.report))
        });
        Some(entries.collect())
    }
}

fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

pub(crate) fn one_of(words: &[&str]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}

/// Returns the word that was probably meant.
pub(crate) fn closest<'w>(written: &str, words: &[&'w str]) -> Option<&'w str> {
    words
        .iter()
        .map(|word| (strsim::damerau_levenshtein(written, word), *word))
        .filter(|(distance, word)| *distance <= word.len().div_ceil(3))
        .min()
        .map(|(_, word)| word)
}
