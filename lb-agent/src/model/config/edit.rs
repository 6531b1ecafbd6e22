//! Writes backends and the firewall as they have become into the text of a file; every other byte stays where it is.
//!
//! The places come from the parser's spans and the text is cut there, for a document that is parsed and
//! written again loses carriage returns.

use std::fmt::Write;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::setting::{self, Literal, quote};
use super::{Backend, BackendState, Config, DEFAULT_WEIGHT, Service};
use list::List;
use patch::Patch;

mod firewall;
mod list;
mod patch;
#[cfg(test)]
mod tests;

type Value<'a> = Spanned<DeValue<'a>>;

/// The text of `before` with the backends, rules and elements of `after`, where those that stay are in the same
/// order, and backends that stay come before those that are new; `None` if the text is not that of `before`.
pub(in crate::model) fn edit(text: &str, before: &Config, after: &Config) -> Option<String> {
    let root = DeTable::parse(text).ok()?;
    let tables = root.get_ref().get("service").and_then(|value| value.get_ref().as_array());
    let mut patch = Patch::new(text);
    let mut tables = tables.into_iter().flat_map(|tables| tables.iter());
    for (before, after) in before.services.iter().zip(&after.services) {
        edit_service(&mut patch, tables.next()?, before, after)?;
    }
    firewall::edit(&mut patch, root.get_ref(), &before.firewall, &after.firewall)?;
    Some(patch.apply(0..text.len()))
}

/// What becomes of the backends of one service.
struct Fate<'a> {
    /// Each of the old ones, and what has become of it; `None`: it is deleted.
    old: Vec<(&'a Backend, Option<&'a Backend>)>,
    new: &'a [Backend],
}

impl<'a> Fate<'a> {
    fn of(before: &'a Service, after: &'a Service) -> Self {
        let mut new = after.backends.as_slice();
        let old = before.backends.iter().map(|backend| match new.split_first() {
            Some((kept, rest)) if kept.name == backend.name => {
                new = rest;
                (backend, Some(kept))
            }
            Some(_) | None => (backend, None),
        });
        Self { old: old.collect(), new }
    }
}

fn edit_service(
    patch: &mut Patch<'_>,
    table: &Value<'_>,
    before: &Service,
    after: &Service,
) -> Option<()> {
    if before.backends == after.backends {
        return Some(());
    }
    let fate = Fate::of(before, after);
    match table.get_ref().get("backend") {
        Some(value) => {
            let tables = value.get_ref().as_array()?;
            if tables.iter().next().is_some_and(|first| !is_inline(patch, first)) {
                edit_tables(patch, tables, &fate)
            } else {
                edit_inline(patch, value, tables, &fate)
            }
        }
        None if is_inline(patch, table) => {
            let backends: Vec<_> = fate.new.iter().map(inline).collect();
            let list = format!("backend = [{}]", backends.join(", "));
            patch.insert(end(table.get_ref().as_table()?)?, format!(", {list}"));
            Some(())
        }
        None => {
            let at = end(table.get_ref().as_table()?)?;
            fate.new.iter().for_each(|new| patch.insert_lines(at, &lines(new, "", "\n", "")));
            Some(())
        }
    }
}

/// Backends that stand under `[[service.backend]]`.
fn edit_tables(patch: &mut Patch<'_>, tables: &DeArray<'_>, fate: &Fate<'_>) -> Option<()> {
    for (value, (old, kept)) in tables.iter().zip(&fate.old) {
        let table = value.get_ref().as_table()?;
        match kept {
            Some(kept) => {
                let indent = patch.indent(first_key(table)?);
                for line in edit_keys(patch, table, old, kept) {
                    patch.insert_lines(end(table)?, &format!("{indent}{line}\n"));
                }
            }
            None => patch.remove_lines(value.span().start..end(table)?),
        }
    }
    let last = tables.iter().last()?;
    let (header, table) = (last.span().start, last.get_ref().as_table()?);
    let gap = if patch.stands_apart(header) { "\n" } else { "" };
    let (outer, inner) = (patch.indent(header), patch.indent(first_key(table)?));
    for new in fate.new {
        patch.insert_lines(end(table)?, &lines(new, outer, gap, inner));
    }
    Some(())
}

/// Backends that stand in `backend = [{ … }]`.
fn edit_inline(
    patch: &mut Patch<'_>,
    value: &Value<'_>,
    tables: &DeArray<'_>,
    fate: &Fate<'_>,
) -> Option<()> {
    let mut list = List::read(patch.text(), value.span(), tables.iter().map(Spanned::span));
    fate.new.iter().for_each(|new| list.push(inline(new), patch.line_end()));
    for (index, (value, (old, kept))) in tables.iter().zip(&fate.old).enumerate().rev() {
        let Some(kept) = kept else {
            list.delete(index);
            continue;
        };
        let table = value.get_ref().as_table()?;
        let mut inner = Patch::new(patch.text());
        for pair in edit_keys(&mut inner, table, old, kept) {
            inner.insert(end(table)?, format!(", {pair}"));
        }
        list.replace(index, inner.apply(value.span()));
    }
    patch.replace(value.span(), list.to_string());
    Some(())
}

/// Replaces the values that differ; returns the assignments of those that the table does not have.
fn edit_keys(
    patch: &mut Patch<'_>,
    table: &DeTable<'_>,
    old: &Backend,
    new: &Backend,
) -> Vec<String> {
    let mut missing = Vec::new();
    for (key, literal) in differing(old, new) {
        match table.get(key) {
            Some(value) => {
                let with = rewritten(patch, value, &literal);
                patch.replace(value.span(), with);
            }
            None => missing.push(assignment(key, &literal)),
        }
    }
    missing
}

/// A value in the form that the old one has: a list stays one, and so does a single text.
fn rewritten(patch: &Patch<'_>, old: &Value<'_>, new: &Literal) -> String {
    let (Literal::List(texts), Some(items)) = (new, old.get_ref().as_array()) else {
        return short(new);
    };
    let mut list = List::read(patch.text(), old.span(), items.iter().map(Spanned::span));
    (texts.len()..items.len()).rev().for_each(|index| list.delete(index));
    for (index, text) in texts.iter().enumerate() {
        match items.get(index) {
            Some(item) if item.get_ref().as_str() == Some(text) => {}
            Some(_) => list.replace(index, quote(text)),
            None => list.push(quote(text), patch.line_end()),
        }
    }
    list.to_string()
}

/// The keys of a backend whose values are not those of another one.
fn differing(old: &Backend, new: &Backend) -> Vec<(&'static str, Literal)> {
    let pairs = setting::backend(old).into_iter().zip(setting::backend(new));
    let differing = pairs.filter(|(old, new)| old.value != new.value);
    differing.filter_map(|(_, new)| Some((new.key, new.value?))).collect()
}

/// The assignments of a new backend, without those that say what is so anyway.
fn assignments(backend: &Backend) -> Vec<String> {
    let (name, address) = (String::new(), Vec::new());
    let (weight, state, backup) = (DEFAULT_WEIGHT, BackendState::default(), false);
    let bare = Backend { name, address, weight, state, backup };
    differing(&bare, backend).iter().map(|(key, literal)| assignment(key, literal)).collect()
}

fn assignment(key: &str, literal: &Literal) -> String {
    format!("{key} = {}", short(literal))
}

/// A list of one text is written as the text.
fn short(literal: &Literal) -> String {
    match literal {
        Literal::List(texts) if let [text] = texts.as_slice() => quote(text),
        Literal::Text(_) | Literal::Bare(_) | Literal::List(_) => literal.to_toml(),
    }
}

fn inline(backend: &Backend) -> String {
    format!("{{ {} }}", assignments(backend).join(", "))
}

fn lines(backend: &Backend, outer: &str, gap: &str, inner: &str) -> String {
    let mut lines = format!("{gap}{outer}[[service.backend]]\n");
    for line in assignments(backend) {
        // Writing to a string cannot fail.
        writeln!(lines, "{inner}{line}").ok();
    }
    lines
}

fn is_inline(patch: &Patch<'_>, table: &Value<'_>) -> bool {
    patch.text().get(table.span()).is_some_and(|text| text.starts_with('{'))
}

fn first_key(table: &DeTable<'_>) -> Option<usize> {
    table.iter().map(|(key, _)| key.span().start).min()
}

/// Where the last value of a table ends, tables in it included.
fn end(table: &DeTable<'_>) -> Option<usize> {
    table.iter().map(|(_, value)| end_of(value)).max()
}

fn end_of(value: &Value<'_>) -> usize {
    let inner = value.get_ref();
    let in_list = inner.as_array().and_then(|items| items.iter().map(end_of).max());
    let in_table = inner.as_table().and_then(end);
    value.span().end.max(in_list.or(in_table).unwrap_or_default())
}
