//! Replacements in a text by place, applied all at once.

use std::ops::Range;

/// A text and what is to be replaced in it.
pub(super) struct Patch<'t> {
    text: &'t str,
    line_end: &'static str,
    replacements: Vec<(Range<usize>, String)>,
}

impl<'t> Patch<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        let line_end = if text.contains("\r\n") { "\r\n" } else { "\n" };
        Self { text, line_end, replacements: Vec::new() }
    }

    pub(super) fn text(&self) -> &'t str {
        self.text
    }

    /// What ends a line in this text.
    pub(super) fn line_end(&self) -> &'static str {
        self.line_end
    }

    pub(super) fn replace(&mut self, range: Range<usize>, with: String) {
        self.replacements.push((range, with));
    }

    pub(super) fn insert(&mut self, at: usize, what: String) {
        self.replace(at..at, what);
    }

    /// Inserts whole lines below the one that `at` is on.
    pub(super) fn insert_lines(&mut self, at: usize, lines: &str) {
        let below = self.below(at);
        let lines = match lines.strip_suffix('\n') {
            // The last line of the text has no end: that of the new lines goes before them.
            Some(lines) if !self.before(below).ends_with('\n') => format!("\n{lines}"),
            Some(_) | None => lines.to_owned(),
        };
        self.insert(below, lines.replace('\n', self.line_end));
    }

    /// Inserts whole lines above the one that `at` is on and the comment right above it.
    pub(super) fn insert_above(&mut self, at: usize, lines: &str) {
        let comment = self.while_above(at, |line| line.starts_with('#'));
        self.insert(comment, lines.replace('\n', self.line_end));
    }

    /// Removes the lines that a range touches, the comment right above them, and the blank lines above that.
    pub(super) fn remove_lines(&mut self, range: Range<usize>) {
        let comment = self.while_above(range.start, |line| line.starts_with('#'));
        let from = self.while_above(comment, str::is_empty);
        self.replace(from..self.below(range.end), String::new());
    }

    /// Whether a blank line stands above the line of `at` and its comment.
    pub(super) fn stands_apart(&self, at: usize) -> bool {
        let comment = self.while_above(at, |line| line.starts_with('#'));
        self.while_above(comment, str::is_empty) < comment
    }

    /// The blanks that the line of `at` begins with.
    pub(super) fn indent(&self, at: usize) -> &'t str {
        let line = self.text.get(self.line_start(at)..).unwrap_or_default();
        let end = line.find(|c| c != ' ' && c != '\t').unwrap_or(line.len());
        line.get(..end).unwrap_or_default()
    }

    /// A part of the text with what is replaced in it.
    pub(super) fn apply(mut self, part: Range<usize>) -> String {
        // Where one ends and another begins, what is inserted there goes first.
        self.replacements.sort_by_key(|(range, _)| (range.start, range.end));
        let (mut applied, mut at) = (String::new(), part.start);
        for (range, with) in &self.replacements {
            applied.push_str(self.text.get(at..range.start).unwrap_or_default());
            applied.push_str(with);
            at = at.max(range.end);
        }
        applied + self.text.get(at..part.end).unwrap_or_default()
    }

    /// The start of the uppermost line of those right above `at` that all fit.
    fn while_above(&self, at: usize, fits: impl Fn(&str) -> bool) -> usize {
        let start = self.line_start(at);
        let lines = self.before(start).split_inclusive('\n').rev();
        start - lines.take_while(|line| fits(line.trim())).map(str::len).sum::<usize>()
    }

    fn line_start(&self, at: usize) -> usize {
        self.before(at).rfind('\n').map_or(0, |end| end + 1)
    }

    /// The start of the next line, or the end of the text.
    fn below(&self, at: usize) -> usize {
        let rest = self.text.get(at..).unwrap_or_default();
        rest.find('\n').map_or(self.text.len(), |end| at + end + 1)
    }

    fn before(&self, at: usize) -> &'t str {
        self.text.get(..at).unwrap_or_default()
    }
}
