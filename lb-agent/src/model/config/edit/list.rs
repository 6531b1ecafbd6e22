//! A list as it is written, `[ … ]`, taken apart into its items and what stands between them.

use std::fmt;
use std::ops::Range;

/// A list in a text.
pub(super) struct List<'t> {
    /// The bracket, and what follows it on its line if that is no item.
    head: &'t str,
    items: Vec<Item<'t>>,
    /// What stands below the last item, without the bracket.
    tail: String,
}

/// An item and what belongs to it.
struct Item<'t> {
    /// From the end of the line of the item before, or of that item.
    lead: String,
    body: String,
    /// Before the comma.
    gap: &'t str,
    has_comma: bool,
    /// The rest of the line, if nothing but a comment is on it.
    rest: &'t str,
}

impl<'t> List<'t> {
    /// The list at `place` of a text, whose items are at `items`.
    pub(super) fn read(
        text: &'t str,
        place: Range<usize>,
        items: impl Iterator<Item = Range<usize>>,
    ) -> Self {
        let cut = |range: Range<usize>| text.get(range).unwrap_or_default();
        let bracket = place.end.saturating_sub(1);
        let places: Vec<_> = items.collect();
        let starts: Vec<_> = places.iter().map(|item| item.start).chain([bracket]).collect();
        let first = starts.first().copied().unwrap_or(bracket);
        let mut at = place.start + 1;
        at += rest_of_line(cut(at..first)).len();
        let head = cut(place.start..at);
        let mut read = Vec::new();
        for (item, next) in places.into_iter().zip(starts.into_iter().skip(1)) {
            let (lead, body) = (cut(at..item.start).to_owned(), cut(item.clone()).to_owned());
            let comma = comma(cut(item.end..next));
            let gap = cut(item.end..item.end + comma.unwrap_or(0));
            at = item.end + comma.map_or(0, |comma| comma + 1);
            let rest = rest_of_line(cut(at..next));
            at += rest.len();
            read.push(Item { lead, body, gap, has_comma: comma.is_some(), rest });
        }
        Self { head, items: read, tail: cut(at..bracket).to_owned() }
    }

    pub(super) fn replace(&mut self, index: usize, body: String) {
        if let Some(item) = self.items.get_mut(index) {
            item.body = body;
        }
    }

    /// Deletes an item with the comment right above it; one that stands apart from it stays.
    pub(super) fn delete(&mut self, index: usize) {
        if index >= self.items.len() {
            return;
        }
        let deleted = self.items.remove(index);
        let kept = apart(&deleted.lead);
        match self.items.get_mut(index) {
            Some(next) if index == 0 && is_blank(&next.lead) && is_blank(&deleted.lead) => {
                next.lead = deleted.lead;
            }
            Some(next) => next.lead.insert_str(0, kept),
            None => {
                self.tail.insert_str(0, kept);
                // What has no comma after it is the last.
                if let Some(last) = self.items.last_mut() {
                    last.has_comma = deleted.has_comma;
                }
            }
        }
    }

    /// Adds an item at the end, on a line of its own where the others have theirs.
    pub(super) fn push(&mut self, body: String, line_end: &'static str) {
        let has_lines = has_end(self.head)
            || self.items.iter().any(|item| item.lead.contains('\n') || has_end(item.rest));
        let lead = match self.items.last_mut() {
            Some(last) => {
                last.has_comma = true;
                if has_lines && !has_end(last.rest) {
                    last.rest = line_end;
                }
                let indent = last.lead.rfind('\n').map_or(0, |end| end + 1);
                if has_lines { last.lead.get(indent..).unwrap_or_default() } else { " " }
            }
            None if has_lines => "  ",
            None => "",
        };
        let lead = lead.to_owned();
        let rest = if has_lines { line_end } else { "" };
        self.items.push(Item { lead, body, gap: "", has_comma: has_lines, rest });
    }
}

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.head)?;
        for Item { lead, body, gap, has_comma, rest } in &self.items {
            let comma = if *has_comma { "," } else { "" };
            write!(f, "{lead}{body}{gap}{comma}{rest}")?;
        }
        write!(f, "{}]", self.tail)
    }
}

/// The first comma that is not in a comment.
fn comma(between: &str) -> Option<usize> {
    let mut in_comment = false;
    between.find(|c| {
        in_comment = c == '#' || in_comment && c != '\n';
        c == ',' && !in_comment
    })
}

/// The first line with its end; nothing where the text ends before.
fn rest_of_line(text: &str) -> &str {
    text.split_inclusive('\n').next().filter(|line| has_end(line)).unwrap_or_default()
}

/// What is above the last blank line, if that is more than blanks.
fn apart(lead: &str) -> &str {
    let mut end = 0;
    let mut at = 0;
    for line in lead.split_inclusive('\n') {
        at += line.len();
        if is_blank(line) && has_end(line) {
            end = at;
        }
    }
    lead.get(..end).filter(|kept| !is_blank(kept)).unwrap_or_default()
}

fn has_end(line: &str) -> bool {
    line.ends_with('\n')
}

fn is_blank(text: &str) -> bool {
    text.trim().is_empty()
}
