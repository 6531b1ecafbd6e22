//! Rules that came and went, and elements of listed sets.

use std::fmt::Write;

use toml::Spanned;
use toml::de::{DeArray, DeTable};

use super::list::List;
use super::patch::Patch;
use super::{end, first_key, is_inline, short};
use crate::model::config::firewall::setting::rule as settings;
use crate::model::config::setting::quote;
use crate::model::firewall::{Firewall, Rule, Source};

/// What `before` has become in the text that it was read from: rules that stay are as they were and in the same
/// order. `None`: the text is laid out in a way that is not mastered.
pub(super) fn edit(
    patch: &mut Patch<'_>,
    root: &DeTable<'_>,
    before: &Firewall,
    after: &Firewall,
) -> Option<()> {
    let table = root.get("firewall").and_then(|value| value.get_ref().as_table());
    if before.rules != after.rules {
        if let Some(rules) = table.and_then(|table| table.get("rule")) {
            edit_rules(patch, rules.get_ref().as_array()?, before, after)?;
        } else {
            let at = patch.text().len();
            for new in &after.rules {
                patch.insert_lines(at, &lines(new, "\n", "", ""));
            }
        }
    }
    for (name, source) in &after.sets {
        if let (Source::Listed(list), Some(Source::Listed(old))) = (source, before.sets.get(name))
            && list != old
        {
            let set = table?.get("set")?.get_ref().as_table()?.get(name.as_str())?;
            let elements = set.get_ref().as_table()?.get("elements")?;
            let items = elements.get_ref().as_array()?;
            let edited = edit_elements(patch, elements.span(), items, source)?;
            patch.replace(elements.span(), edited);
        }
    }
    Some(())
}

/// Rules that stand under `[[firewall.rule]]`.
fn edit_rules(
    patch: &mut Patch<'_>,
    tables: &DeArray<'_>,
    before: &Firewall,
    after: &Firewall,
) -> Option<()> {
    if tables.iter().any(|table| is_inline(patch, table)) {
        return None;
    }
    let last = tables.iter().last()?;
    let (header, table) = (last.span().start, last.get_ref().as_table()?);
    let gap = if patch.stands_apart(header) { "\n" } else { "" };
    let (outer, inner) = (patch.indent(header), patch.indent(first_key(table)?));
    let mut rest = after.rules.iter().peekable();
    for (value, old) in tables.iter().zip(&before.rules) {
        let stays = after.rules.iter().any(|rule| rule.name == old.name);
        if !stays {
            patch.remove_lines(value.span().start..end(value.get_ref().as_table()?)?);
            continue;
        }
        while let Some(new) = rest.next_if(|rule| rule.name != old.name) {
            let text = lines(new, "", outer, inner) + gap;
            patch.insert_above(value.span().start, &text);
        }
        rest.next();
    }
    let below = end(table)?;
    for new in rest {
        patch.insert_lines(below, &lines(new, gap, outer, inner));
    }
    Some(())
}

/// The list with the elements that it is to have; those that stay keep their places and comments.
fn edit_elements(
    patch: &Patch<'_>,
    place: std::ops::Range<usize>,
    items: &DeArray<'_>,
    source: &Source,
) -> Option<String> {
    let Source::Listed(wanted) = source else { return None };
    let mut list = List::read(patch.text(), place, items.iter().map(Spanned::span));
    let prefixes: Vec<_> =
        items.iter().map(|item| super::super::prefix_of(item.get_ref().as_str()?).ok()).collect();
    for (index, prefix) in prefixes.iter().enumerate().rev() {
        if !wanted.contains(prefix.as_ref()?) {
            list.delete(index);
        }
    }
    for new in wanted.iter().filter(|one| !prefixes.contains(&Some(**one))) {
        list.push(quote(&new.to_string()), patch.line_end());
    }
    Some(list.to_string())
}

fn lines(rule: &Rule, gap: &str, outer: &str, inner: &str) -> String {
    let mut lines = format!("{gap}{outer}[[firewall.rule]]\n");
    for setting in settings(rule) {
        if let Some(value) = setting.value {
            // Writing to a string cannot fail.
            writeln!(lines, "{inner}{} = {}", setting.key, short(&value)).ok();
        }
    }
    lines
}
