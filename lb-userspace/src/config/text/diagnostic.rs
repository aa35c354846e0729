//! Mistakes in a configuration, shown at the place where they are written.

use std::{fmt, ops::Range, path::PathBuf};

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

/// A place in the text, in bytes.
pub type Span = Range<usize>;

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

    fn render(&self, renderer: &Renderer, path: &str, text: &str) -> String {
        let related = self.related.as_ref();
        let all = related.map_or(self.span.clone(), |(span, _)| {
            span.start.min(self.span.start)..span.end.max(self.span.end)
        });
        // The renderer reads its whole input for each mistake.
        let lines = whole_lines(text, &all);
        let here = |span: &Span| span.start - lines.start..span.end - lines.start;
        let mut snippet = Snippet::source(&text[lines.clone()])
            .path(path)
            .line_start(line_number(text, lines.start))
            .annotation(AnnotationKind::Primary.span(here(&self.span)));
        if let Some((span, label)) = related {
            snippet = snippet.annotation(AnnotationKind::Context.span(here(span)).label(label));
        }
        let mut group = Level::ERROR.primary_title(&self.message).element(snippet);
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help));
        }
        renderer.render(&[group])
    }
}

fn whole_lines(text: &str, span: &Span) -> Span {
    let start = text[..span.start].rfind('\n').map_or(0, |newline| newline + 1);
    let end = text[span.end..].find('\n').map_or(text.len(), |newline| span.end + newline);
    start..end
}

/// The number of a line, from 1.
fn line_number(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// Every mistake of one configuration, in the order of the text. Never empty.
///
/// `Display` renders each with file, line, column, the line itself and what would be valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errors {
    path: PathBuf,
    text: String,
    diagnostics: Vec<Diagnostic>,
}

impl Errors {
    pub(crate) fn new(path: PathBuf, text: &str, mut diagnostics: Vec<Diagnostic>) -> Self {
        for diagnostic in &mut diagnostics {
            diagnostic.span = within(text, &diagnostic.span);
        }
        diagnostics.sort_by(|a, b| (a.span.start, &a.message).cmp(&(b.span.start, &b.message)));
        // A shared pool is checked once for each service that refers to it.
        diagnostics.dedup();
        Self { path, text: text.to_owned(), diagnostics }
    }

    #[must_use]
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// Returns line and column of a diagnostic, both from 1; the column counts characters.
    #[must_use]
    pub fn position(&self, diagnostic: &Diagnostic) -> (usize, usize) {
        let start = diagnostic.span.start;
        let line = whole_lines(&self.text, &(start..start));
        let column = self.text[line.start..start].chars().count() + 1;
        (line_number(&self.text, start), column)
    }

    /// Renders all mistakes, with or without terminal colours.
    #[must_use]
    pub fn render(&self, coloured: bool) -> String {
        let renderer = if coloured { Renderer::styled() } else { Renderer::plain() };
        let path = self.path.to_string_lossy();
        let rendered: Vec<_> = self
            .diagnostics
            .iter()
            .map(|diagnostic| diagnostic.render(&renderer, &path, &self.text))
            .collect();
        rendered.join("\n\n")
    }
}

/// Keeps a span within the text: syntax errors at the end may point past it.
fn within(text: &str, span: &Span) -> Span {
    let start = text.floor_char_boundary(span.start);
    start..text.ceil_char_boundary(span.end).max(start)
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Errors {}
