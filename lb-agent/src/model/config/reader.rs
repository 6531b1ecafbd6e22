//! Typed access to a table of the file: each key is named where it is read, so that what was not read is
//! unknown.
//!
//! A reader never stops at a problem: it reports it and answers `None`.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Fault, Report, Span};
use super::value::{nearest, type_name};

/// A value and where it was found; where a default stands in, the place of its table.
#[derive(Clone, Debug)]
pub(super) struct Located<T> {
    pub(super) value: T,
    pub(super) span: Span,
}

/// The items of a list that are valid.
#[derive(Clone, Debug)]
pub(super) struct List<T> {
    pub(super) items: Vec<Located<T>>,
    /// Whether no item is missing because it was wrong.
    pub(super) whole: bool,
}

/// A table that is being read.
pub(super) struct Table<'r> {
    /// Where problems go.
    pub(super) report: &'r Report,
    /// The place of its header, or of the table that should have it.
    pub(super) span: Span,
    title: String,
    entries: Option<&'r DeTable<'r>>,
    known: Vec<&'static str>,
}

impl<'r> Table<'r> {
    /// The file as a whole.
    pub(super) fn root(report: &'r Report, entries: &'r DeTable<'r>) -> Self {
        let title = "the file".to_owned();
        Self { report, span: 0..0, title, entries: Some(entries), known: Vec::new() }
    }

    /// A value that is a table.
    pub(super) fn of(&self, title: &str, value: &'r Spanned<DeValue<'r>>) -> Option<Self> {
        let (report, span, title) = (self.report, value.span(), title.to_owned());
        if let DeValue::Table(entries) = value.get_ref() {
            return Some(Self { report, span, title, entries: Some(entries), known: Vec::new() });
        }
        let found = type_name(value.get_ref());
        let fault = Fault::new(
            format!("expected a table, found {found}"),
            format!("write its keys below `{title}`"),
        );
        report.add(fault.at(&span));
        None
    }

    /// A key's value as it stands in the file.
    pub(super) fn raw(&mut self, key: &'static str) -> Option<&'r Spanned<DeValue<'r>>> {
        self.known.push(key);
        self.entries?.get(key)
    }

    /// The table under `key`; one without any key where it is missing or no table.
    pub(super) fn section(&mut self, key: &'static str, title: &str) -> Self {
        let (report, span) = (self.report, self.span.clone());
        let found = self.raw(key).and_then(|value| self.of(title, value));
        found.unwrap_or(Self {
            report,
            span,
            title: title.to_owned(),
            entries: None,
            known: Vec::new(),
        })
    }

    /// The list of tables under `key`.
    pub(super) fn sections(&mut self, key: &'static str, title: &str) -> Vec<Self> {
        let Some(value) = self.raw(key) else { return Vec::new() };
        if let DeValue::Array(items) = value.get_ref() {
            return items.iter().filter_map(|item| self.of(title, item)).collect();
        }
        let found = type_name(value.get_ref());
        let message = format!("expected a list of tables, found {found}");
        let fault = Fault::new(message, format!("write `{title}` above its keys"));
        self.report.add(fault.at(&value.span()));
        Vec::new()
    }

    /// The tables under `key` by their names.
    pub(super) fn named_sections(
        &mut self,
        key: &'static str,
        title: &str,
    ) -> Vec<(Located<&'r str>, Option<Self>)> {
        let section = self.section(key, title);
        let entries = section.entries.into_iter().flatten();
        entries
            .map(|(name, value)| {
                let title = format!("[{key}.{}]", name.get_ref());
                let name = Located { value: &**name.get_ref(), span: name.span() };
                (name, self.of(&title, value))
            })
            .collect()
    }

    /// An optional value. The outer `None`: it is wrong.
    #[expect(clippy::option_option, reason = "wrong, missing and present are three things")]
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&DeValue<'_>) -> Result<T, Fault>,
    ) -> Option<Option<Located<T>>> {
        let Some(value) = self.raw(key) else { return Some(None) };
        located(self.report, value, &parse).map(Some)
    }

    /// A value with a default.
    pub(super) fn or<T>(
        &mut self,
        key: &'static str,
        default: T,
        parse: impl Fn(&DeValue<'_>) -> Result<T, Fault>,
    ) -> Option<Located<T>> {
        let found = self.optional(key, parse)?;
        Some(found.unwrap_or(Located { value: default, span: self.span.clone() }))
    }

    /// A value that must be there.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        example: &str,
        parse: impl Fn(&DeValue<'_>) -> Result<T, Fault>,
    ) -> Option<Located<T>> {
        let found = self.optional(key, parse)?;
        if found.is_none() {
            self.missing(key, example);
        }
        found
    }

    /// A list that must be there and not be empty; a single value counts as a list of one.
    pub(super) fn required_list<T>(
        &mut self,
        key: &'static str,
        example: &str,
        parse: impl Fn(&DeValue<'_>) -> Result<T, Fault>,
    ) -> List<T> {
        let found = self.list(key, example, parse);
        found.unwrap_or_else(|| {
            self.missing(key, example);
            List { items: Vec::new(), whole: false }
        })
    }

    /// A list that is not empty if it is there; a single value counts as a list of one.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        example: &str,
        parse: impl Fn(&DeValue<'_>) -> Result<T, Fault>,
    ) -> Option<List<T>> {
        let value = self.raw(key)?;
        if value.get_ref().as_array().is_some_and(|array| array.is_empty()) {
            let fault = Fault::new(
                format!("`{key}` is empty"),
                format!("name at least one, as in `{key} = {example}`"),
            );
            self.report.add(fault.at(&value.span()));
            return Some(List { items: Vec::new(), whole: false });
        }
        Some(items(self.report, value, &parse))
    }

    /// A list that may be empty; a single value counts as a list of one.
    pub(super) fn list_or_none<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&DeValue<'_>) -> Result<T, Fault>,
    ) -> Option<List<T>> {
        let value = self.raw(key)?;
        Some(items(self.report, value, &parse))
    }

    /// Reports what has not been read: `later` are keys that a later version will know.
    pub(super) fn finish(self, later: &[&'static str]) {
        for (key, _) in self.entries.into_iter().flatten() {
            let name: &str = key.get_ref();
            if !self.known.contains(&name) {
                self.report.add(self.unread(name, later).at(&key.span()));
            }
        }
    }

    fn unread(&self, name: &str, later: &[&'static str]) -> Fault {
        if later.contains(&name) {
            let help = "remove it: this version does not do what it asks for";
            return Fault::new(format!("`{name}` is not supported yet"), help);
        }
        let help = match nearest(name, self.known.iter().chain(later).copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("the keys of {} are {}", self.title, self.known.join(", ")),
        };
        Fault::new(format!("unknown key `{name}` in {}", self.title), help)
    }

    fn missing(&self, key: &str, example: &str) {
        let fault = Fault::new(
            format!("missing key `{key}` in {}", self.title),
            format!("add `{key} = {example}`"),
        );
        self.report.add(fault.at(&self.span));
    }
}

fn items<T>(
    report: &Report,
    value: &Spanned<DeValue<'_>>,
    parse: impl Fn(&DeValue<'_>) -> Result<T, Fault>,
) -> List<T> {
    let DeValue::Array(array) = value.get_ref() else {
        let item = located(report, value, &parse);
        return List { whole: item.is_some(), items: item.into_iter().collect() };
    };
    let items: Vec<_> = array.iter().filter_map(|item| located(report, item, &parse)).collect();
    List { whole: items.len() == array.len(), items }
}

fn located<T>(
    report: &Report,
    value: &Spanned<DeValue<'_>>,
    parse: impl Fn(&DeValue<'_>) -> Result<T, Fault>,
) -> Option<Located<T>> {
    let span = value.span();
    match parse(value.get_ref()) {
        Ok(value) => Some(Located { value, span }),
        Err(fault) => {
            report.add(fault.at(&span));
            None
        }
    }
}
