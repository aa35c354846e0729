//! A table with a fixed set of keys.

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    diagnostic::{Diagnostic, Span},
    key_locations::KEY_LOCATIONS,
    reader::{Report, Value, closest},
};

/// Reads a table key by key. The keys that were asked for are known; all others are mistakes.
///
/// Every key may also be written in camelCase, as users of Traefik do.
pub(crate) struct Section<'a> {
    name: &'a str,
    table: &'a DeTable<'a>,
    span: Span,
    report: &'a Report,
    known: Vec<&'static str>,
    /// Some key is written in camelCase.
    has_capitals: bool,
}

impl<'a> Section<'a> {
    pub(crate) fn new(
        name: &'a str,
        table: &'a DeTable<'a>,
        span: Span,
        report: &'a Report,
    ) -> Self {
        let has_capital = |key: &str| key.bytes().any(|byte| byte.is_ascii_uppercase());
        let has_capitals = table.keys().any(|key| has_capital(key.get_ref()));
        Self { name, table, span, report, known: Vec::new(), has_capitals }
    }

    /// The span of the header, or of the whole inline table.
    pub(crate) fn span(&self) -> Span {
        self.span.clone()
    }

    pub(crate) fn report(&self) -> &'a Report {
        self.report
    }

    /// Reads a key. `None`: absent, or reported as a mistake.
    pub(crate) fn optional<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(Value<'a>) -> Option<T>,
    ) -> Option<T> {
        #[cfg(test)]
        self.report.record_asked(self.name, key);
        self.known.push(key);
        let (_, node) = self.find(key)?;
        read(Value::new(key, node, self.report))
    }

    /// Reads a key that must be there; `example` says what to add. `None` has been reported.
    pub(crate) fn required<T>(
        &mut self,
        key: &'static str,
        example: &str,
        read: impl FnOnce(Value<'a>) -> Option<T>,
    ) -> Option<T> {
        if !self.has(key) {
            self.report.push(
                Diagnostic::new(self.span(), self.missing(key))
                    .help(format!("add for example `{example}`")),
            );
        }
        self.optional(key, read)
    }

    /// Reports a key that users of similar programs expect and that is not supported yet.
    pub(crate) fn unsupported(&mut self, key: &'static str, today: &str) {
        self.known.push(key);
        if let Some(span) = self.key_span(key) {
            let message = format!("`{key}` is not supported yet");
            self.report.push(Diagnostic::new(span, message).help(today));
        }
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    /// Returns where the key itself is written.
    pub(crate) fn key_span(&self, key: &str) -> Option<Span> {
        self.find(key).map(|(span, _)| span)
    }

    pub(crate) fn refuse_unknown_keys(&self) {
        for key in self.table.keys() {
            let written = key.get_ref().as_ref();
            match self.known.iter().find(|known| spells(written, known)) {
                None => self.refuse_unknown_key(written, key.span()),
                Some(known) if *known != written => self.refuse_second_spelling(known, key.span()),
                Some(_) => {}
            }
        }
    }

    fn refuse_unknown_key(&self, written: &str, span: Span) {
        let home =
            KEY_LOCATIONS.iter().flat_map(|(home, keys)| keys.iter().map(move |key| (home, key)));
        let home = home.into_iter().find(|(_, key)| spells(written, key));
        let help = match (home, closest(written, &self.known)) {
            (Some((home, key)), _) => format!("`{key}` belongs to {home}"),
            (None, Some(key)) => format!("did you mean `{key}`?"),
            (None, None) => format!("the keys here are: {}", self.known.join(", ")),
        };
        let message = match self.name {
            "" => format!("unknown key `{written}`"),
            name => format!("unknown key `{written}` in `{name}`"),
        };
        self.report.push(Diagnostic::new(span, message).help(help));
    }

    fn refuse_second_spelling(&self, key: &str, span: Span) {
        if let Some((first, _)) = self.table.get_key_value(key) {
            self.report.push(
                Diagnostic::new(span, format!("`{key}` is given twice"))
                    .related(first.span(), "the other spelling")
                    .help("remove one of the two"),
            );
        }
    }

    fn missing(&self, key: &str) -> String {
        match self.name {
            "" => format!("`{key}` is missing"),
            name => format!("`{key}` is missing in `{name}`"),
        }
    }

    fn find(&self, key: &str) -> Option<(Span, &'a Spanned<DeValue<'a>>)> {
        let other = || self.table.get_key_value(camel_case(key).as_str());
        let found = self.table.get_key_value(key);
        let found = found.or_else(|| if self.has_capitals { other() } else { None });
        found.map(|(key, node)| (key.span(), node))
    }
}

impl<'a> Value<'a> {
    /// Reads a table with a fixed set of keys: those that `read` asks for.
    pub(crate) fn section<T>(self, read: impl FnOnce(&mut Section<'a>) -> Option<T>) -> Option<T> {
        let mut section = Section::new(self.key, self.table()?, self.span(), self.report);
        let value = read(&mut section);
        section.refuse_unknown_keys();
        value
    }
}

fn spells(written: &str, key: &str) -> bool {
    written == key || written == camel_case(key)
}

fn camel_case(key: &str) -> String {
    let mut words = key.split('_');
    let mut camel = words.next().unwrap_or_default().to_owned();
    for word in words {
        let (initial, rest) = word.split_at(1);
        camel += &initial.to_ascii_uppercase();
        camel += rest;
    }
    camel
}
