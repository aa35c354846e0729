//! Mistakes in a configuration, shown at the place where they are written.

use std::fmt;

use annotate_snippets::{Annotation, AnnotationKind, Level, Renderer, Snippet};

pub use super::span::Span;
use super::texts::{SourceText, Texts};
use crate::objects::Violation;

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    pub message: String,
    pub span: Span,
    /// An earlier place that this one conflicts with, and what is there.
    pub related: Option<(Span, String)>,
    /// What would be valid.
    pub help: Option<String>,
}

impl Diagnostic {
    pub(crate) fn new(span: Span, message: impl Into<String>) -> Self {
        Self { message: message.into(), span, related: None, help: None }
    }

    pub(crate) fn related(mut self, span: Span, label: impl Into<String>) -> Self {
        self.related = Some((span, label.into()));
        self
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    fn render(&self, renderer: &Renderer, texts: &Texts) -> String {
        let source = texts.find(self.span.start);
        let here = source.local(&self.span);
        let primary = |span| (AnnotationKind::Primary, span, None);
        let group = Level::ERROR.primary_title(&self.message);
        let related = self.related.as_ref().map(|(span, label)| {
            let there = texts.find(span.start);
            let local = there.local(span);
            (there, local.clone(), (AnnotationKind::Context, local, Some(label.as_str())))
        });
        let mut group = match related {
            None => group.element(snippet(source, &here, [primary(here.clone())])),
            Some((there, span, context)) if there.start == source.start => {
                let all = here.start.min(span.start)..here.end.max(span.end);
                group.element(snippet(source, &all, [primary(here), context]))
            }
            Some((there, span, context)) => group
                .element(snippet(source, &here, [primary(here.clone())]))
                .element(snippet(there, &span, [context])),
        };
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help));
        }
        renderer.render(&[group])
    }

    pub(crate) fn violation(&self, texts: &Texts) -> Violation {
        Violation {
            at: texts.place(&self.span),
            detail: self.message.clone(),
            help: self.help.clone(),
            conflicts_with: self.related.as_ref().map(|(span, _)| texts.place(span)),
        }
    }
}

/// The lines around `shown`, with `annotations` in it. The renderer reads its whole input for each
/// mistake.
fn snippet<'s, const N: usize>(
    source: &'s SourceText,
    shown: &Span,
    annotations: [(AnnotationKind, Span, Option<&'s str>); N],
) -> Snippet<'s, Annotation<'s>> {
    let text = &source.text;
    let start = text[..shown.start].rfind('\n').map_or(0, |newline| newline + 1);
    let end = text[shown.end..].find('\n').map_or(text.len(), |newline| shown.end + newline);
    let annotations = annotations.map(|(kind, span, label)| {
        let annotation = kind.span(span.start - start..span.end - start);
        match label {
            Some(label) => annotation.label(label),
            None => annotation,
        }
    });
    Snippet::source(&text[start..end])
        .path(&source.name)
        .line_start(text[..start].matches('\n').count() + 1)
        .annotations(annotations)
}

/// Every mistake of one configuration, in the order of the text. Never empty.
///
/// `Display` renders each with file, line, column, the line itself and what would be valid.
#[derive(Clone, Debug, PartialEq)]
pub struct Errors {
    texts: Texts,
    diagnostics: Vec<Diagnostic>,
}

impl Errors {
    pub(crate) fn new(texts: Texts, mut diagnostics: Vec<Diagnostic>) -> Self {
        diagnostics.sort_by(|a, b| (a.span.start, &a.message).cmp(&(b.span.start, &b.message)));
        // A shared pool is checked once for each service that refers to it.
        diagnostics.dedup();
        Self { texts, diagnostics }
    }

    #[must_use]
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// Returns line and column of a diagnostic, both from 1; the column counts characters.
    #[must_use]
    pub fn position(&self, diagnostic: &Diagnostic) -> (usize, usize) {
        let start = diagnostic.span.start;
        self.texts.find(start).position(start)
    }

    /// All mistakes in a form for programs.
    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        self.diagnostics.iter().map(|it| it.violation(&self.texts)).collect()
    }

    /// Renders all mistakes, with or without terminal colours.
    #[must_use]
    pub fn render(&self, coloured: bool) -> String {
        let renderer = if coloured { Renderer::styled() } else { Renderer::plain() };
        let diagnostics = self.diagnostics.iter();
        let rendered: Vec<_> = diagnostics.map(|it| it.render(&renderer, &self.texts)).collect();
        rendered.join("\n\n")
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Errors {}
