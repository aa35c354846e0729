//! An object of the API as a piece of the tree that the readers walk, with a text to point into.

use std::borrow::Cow;

use serde_json::Value as Json;
use toml::{
    Spanned,
    de::{DeArray, DeTable, DeValue},
};

use super::span::Span;
use crate::objects::Body;

/// `body` as text.
pub(crate) fn text(body: &Body) -> String {
    let mut writer = Writer::new(0, None, None);
    writer.table(body, 0, "");
    writer.text
}

/// The tree of `body`, whose `text` begins at `start`.
pub(crate) fn tree<'t>(body: &'t Body, text: &'t str, start: usize) -> Spanned<DeValue<'t>> {
    Writer::new(start, Some(text), None).table(body, 0, "")
}

/// The JSON pointer of what is written at `span` in the text of `body` (RFC 6901). Where `span` is
/// no value or key of its own, that of the value around it.
pub(crate) fn pointer(body: &Body, start: usize, span: &Span) -> String {
    let mut writer = Writer::new(start, None, Some(span.clone()));
    writer.table(body, 0, "");
    writer.found
}

/// Writes the text, and builds what is wanted besides.
struct Writer<'t> {
    text: String,
    start: usize,
    /// The whole text, if it was written before: numbers of the tree refer to it.
    written: Option<&'t str>,
    sought: Option<Span>,
    found: String,
}

impl<'t> Writer<'t> {
    fn new(start: usize, written: Option<&'t str>, sought: Option<Span>) -> Self {
        Self { text: String::new(), start, written, sought, found: String::new() }
    }

    fn at(&self) -> usize {
        self.start + self.text.len()
    }

    /// Places come from the inside out: the first that covers what is sought is the innermost.
    fn passed(&mut self, span: &Span, pointer: &str) {
        let covers = |sought: &Span| span.start <= sought.start && sought.end <= span.end;
        if self.sought.as_ref().is_some_and(covers) {
            pointer.clone_into(&mut self.found);
            self.sought = None;
        }
    }

    fn value(&mut self, value: &'t Json, depth: usize, pointer: &str) -> Spanned<DeValue<'t>> {
        match value {
            Json::Object(body) => self.table(body, depth, pointer),
            Json::Array(items) => self.list(items, depth, pointer),
            scalar => {
                let from = self.at();
                self.text += &scalar.to_string();
                let span = from..self.at();
                self.passed(&span, pointer);
                let scalar = self.scalar(scalar, &span);
                Spanned::new(span, scalar)
            }
        }
    }

    /// An absent value may be written as `null`.
    fn table(&mut self, body: &'t Body, depth: usize, pointer: &str) -> Spanned<DeValue<'t>> {
        let from = self.at();
        self.text.push('{');
        let mut table = DeTable::new();
        let members = body.iter().filter(|(_, value)| !value.is_null());
        for (number, (key, value)) in members.enumerate() {
            self.next(number, depth + 1);
            let inner = format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"));
            let key_from = self.at();
            self.text += &Json::from(key.as_str()).to_string();
            let key_span = key_from..self.at();
            self.passed(&key_span, &inner);
            self.text += ": ";
            let value = self.value(value, depth + 1, &inner);
            table.insert(Spanned::new(key_span, Cow::Borrowed(key.as_str())), value);
        }
        self.end(table.is_empty(), depth, '}');
        let span = from..self.at();
        self.passed(&span, pointer);
        Spanned::new(span, DeValue::Table(table))
    }

    fn list(&mut self, items: &'t [Json], depth: usize, pointer: &str) -> Spanned<DeValue<'t>> {
        let from = self.at();
        self.text.push('[');
        let mut list = DeArray::new();
        for (number, item) in items.iter().enumerate() {
            self.next(number, depth + 1);
            list.push(self.value(item, depth + 1, &format!("{pointer}/{number}")));
        }
        self.end(items.is_empty(), depth, ']');
        let span = from..self.at();
        self.passed(&span, pointer);
        Spanned::new(span, DeValue::Array(list))
    }

    fn scalar(&self, value: &'t Json, span: &Span) -> DeValue<'t> {
        match value {
            Json::Bool(value) => DeValue::Boolean(*value),
            Json::Number(_) => {
                let written = self
                    .written
                    .and_then(|it| it.get(span.start - self.start..span.end - self.start));
                let number = written.and_then(|text| DeValue::parse(text).ok());
                number.map_or(DeValue::Boolean(false), Spanned::into_inner)
            }
            Json::String(text) => DeValue::String(Cow::Borrowed(text)),
            // Absent, or refused before it comes here.
            Json::Null | Json::Array(_) | Json::Object(_) => DeValue::Boolean(false),
        }
    }

    fn next(&mut self, number: usize, depth: usize) {
        self.text += if number == 0 { "\n" } else { ",\n" };
        self.text += &"  ".repeat(depth);
    }

    fn end(&mut self, is_empty: bool, depth: usize, bracket: char) {
        if !is_empty {
            self.text.push('\n');
            self.text += &"  ".repeat(depth);
        }
        self.text.push(bracket);
    }
}
