//! The texts that make one configuration: a file, and perhaps objects of the API.
//!
//! They lie one after the other, so that a [`Span`] is a place in all of them together.

use std::{path::Path, sync::Arc};

use super::{json, span::Span};
use crate::objects::{Object, Place};

/// The texts, the file's first.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Texts(Vec<SourceText>);

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SourceText {
    pub name: String,
    pub text: String,
    /// Where it begins among all.
    pub start: usize,
    /// `None`: the file.
    pub object: Option<Arc<Object>>,
}

impl Texts {
    pub(crate) fn file(path: &Path, text: &str) -> Self {
        let name = path.to_string_lossy().into_owned();
        Self(vec![SourceText { name, text: text.to_owned(), start: 0, object: None }])
    }

    pub(crate) fn with_objects(mut self, objects: &[Arc<Object>]) -> Self {
        for object in objects {
            let start = self.0.last().map_or(0, |last| last.end() + 1);
            self.0.push(SourceText {
                name: format!("api: {}", object.id),
                text: json::text(&object.body),
                start,
                object: Some(object.clone()),
            });
        }
        self
    }

    /// The file's text.
    pub(crate) fn text(&self) -> &str {
        self.0.first().map_or("", |file| &file.text)
    }

    /// Where the objects begin.
    pub(crate) fn objects_from(&self) -> usize {
        self.0.first().map_or(0, |file| file.end() + 1)
    }

    pub(crate) fn objects(&self) -> impl Iterator<Item = (&SourceText, &Object)> {
        self.0.iter().filter_map(|source| Some((source, &**source.object.as_ref()?)))
    }

    /// The text in which a place is.
    pub(crate) fn find(&self, at: usize) -> &SourceText {
        let after = self.0.partition_point(|source| source.start <= at);
        &self.0[after.saturating_sub(1)]
    }

    pub(crate) fn place(&self, span: &Span) -> Place {
        let source = self.find(span.start);
        match &source.object {
            Some(object) => Place::Api {
                object: object.id.clone(),
                pointer: json::pointer(&object.body, source.start, span),
            },
            None => {
                let (line, column) = source.position(span.start);
                Place::File { place: format!("{}:{line}:{column}", source.name) }
            }
        }
    }
}

impl SourceText {
    fn end(&self) -> usize {
        self.start + self.text.len()
    }

    /// The span within this text.
    pub(crate) fn local(&self, span: &Span) -> Span {
        let start = self.text.floor_char_boundary(span.start.saturating_sub(self.start));
        let end = self.text.ceil_char_boundary(span.end.saturating_sub(self.start));
        start..end.max(start)
    }

    /// Line and column, both from 1; the column counts characters.
    pub(crate) fn position(&self, at: usize) -> (usize, usize) {
        let at = self.local(&(at..at)).start;
        let line = self.text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let column = self.text[line..at].chars().count() + 1;
        (self.text[..at].matches('\n').count() + 1, column)
    }
}
