//! What is wrong with a configuration, and how it is shown: as rustc would, all of it at once.
//!
//! A [`Fault`] says what is wrong with a value, a [`Problem`] also where. Nothing here knows the
//! configuration's keys.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;

use annotate_snippets::{
    Annotation, AnnotationKind, Group, Level, Renderer, Snippet, normalize_untrusted_str,
};

/// A place in the text, in bytes.
pub(super) type Span = Range<usize>;

/// What is wrong with a value.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    message: String,
    help: Option<String>,
}

impl Fault {
    /// A fault with its remedy.
    pub(super) fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: Some(help.into()) }
    }

    /// What is wrong, without the remedy.
    pub(super) fn into_message(self) -> String {
        self.message
    }

    /// The fault at a place.
    pub(super) fn at(self, span: &Span) -> Problem {
        Problem { fault: self, span: span.clone(), other: None }
    }
}

/// A fault and its place.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    fault: Fault,
    span: Span,
    other: Option<(Span, &'static str)>,
}

impl Problem {
    /// The same problem, which also points to another place.
    pub(super) fn and(self, span: &Span, label: &'static str) -> Self {
        Self { other: Some((span.clone(), label)), ..self }
    }
}

/// Where problems are collected while a file is read.
#[derive(Debug, Default)]
pub(super) struct Report(RefCell<Vec<Problem>>);

impl Report {
    /// Adds a problem.
    pub(super) fn add(&self, problem: Problem) {
        self.0.borrow_mut().push(problem);
    }

    /// All problems without their places, each with its remedy.
    pub(super) fn into_messages(self) -> Vec<String> {
        let list = self.0.into_inner().into_iter();
        list.map(|Problem { fault: Fault { message, help }, .. }| match help {
            Some(help) => format!("{message} ({help})"),
            None => message,
        })
        .collect()
    }

    /// All problems, to be shown with the text that they are about.
    pub(super) fn into_problems(self, name: &str, text: &str) -> Problems {
        let mut list = self.0.into_inner();
        list.sort_by_key(|problem| problem.span.start);
        Problems { name: name.to_owned(), text: text.to_owned(), list }
    }
}

/// Every problem of a configuration, in the order of the file.
///
/// [`Display`](fmt::Display) shows them without colour, as `rustc` would.
#[derive(Clone, Debug)]
pub struct Problems {
    name: String,
    text: String,
    list: Vec<Problem>,
}

impl Problems {
    /// The syntax errors of a TOML text, one per line: what follows on the same line is a consequence.
    pub(super) fn of_syntax(name: &str, text: &str, errors: &[toml::de::Error]) -> Self {
        let report = Report::default();
        for error in errors {
            let fault = Fault { message: error.message().to_owned(), help: None };
            report.add(fault.at(&error.span().unwrap_or_default()));
        }
        let mut problems = report.into_problems(name, text);
        let lines = Lines::new(text);
        problems.list.dedup_by_key(|problem| lines.number(problem.span.start));
        problems
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// All problems with the colours of a terminal.
    pub fn coloured(&self) -> String {
        self.render(&Renderer::styled())
    }

    fn render(&self, renderer: &Renderer) -> String {
        let lines = Lines::new(&self.text);
        let shown: Vec<String> = (self.list.iter())
            .map(|problem| renderer.render(&[problem.group(&self.name, &lines)]))
            .collect();
        shown.join("\n\n")
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(&Renderer::plain()))
    }
}

impl std::error::Error for Problems {}

impl Problem {
    fn group<'a>(&'a self, name: &'a str, lines: &Lines<'a>) -> Group<'a> {
        let other = self.other.as_ref();
        let first = other.map_or(self.span.start, |(span, _)| span.start.min(self.span.start));
        let last = other.map_or(self.span.start, |(span, _)| span.start.max(self.span.start));
        // Only the lines that matter, so that a long list of problems does not take quadratic time.
        let (start, source) = lines.between(first, last);
        let mark = |kind: AnnotationKind, span: &Span| -> Annotation<'a> {
            let shown = lines.clip(span);
            kind.span(shown.start.saturating_sub(start)..shown.end.saturating_sub(start))
        };
        let mut snippet = Snippet::source(source)
            .path(name)
            .line_start(lines.number(first))
            .annotation(mark(AnnotationKind::Primary, &self.span));
        if let Some((span, label)) = other {
            snippet = snippet.annotation(mark(AnnotationKind::Context, span).label(*label));
        }
        let group = Level::ERROR.primary_title(self.fault.message.as_str()).element(snippet);
        match &self.fault.help {
            Some(help) => group.element(Level::HELP.message(normalize_untrusted_str(help))),
            None => group,
        }
    }
}

/// Finds lines in a text.
struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Self {
        let starts = text.match_indices('\n').map(|(at, _)| at + 1);
        Self { text, starts: std::iter::once(0).chain(starts).collect() }
    }

    /// Number of the line that `at` is in, from 1.
    fn number(&self, at: usize) -> usize {
        self.starts.partition_point(|start| *start <= at)
    }

    fn start(&self, at: usize) -> usize {
        self.starts.get(self.number(at).saturating_sub(1)).copied().unwrap_or(0)
    }

    /// Where the line of `at` ends, without its newline.
    fn end(&self, at: usize) -> usize {
        let next = self.starts.get(self.number(at)).copied();
        next.map_or(self.text.len(), |next| next.saturating_sub(1))
    }

    /// The lines from that of `first` to that of `last`, and where they start.
    fn between(&self, first: usize, last: usize) -> (usize, &'a str) {
        let start = self.start(first);
        (start, self.text.get(start..self.end(last)).unwrap_or_default())
    }

    /// The part of a span that is in its first line, on the borders of characters.
    fn clip(&self, span: &Span) -> Span {
        let start = self.text.floor_char_boundary(span.start);
        let end = span.end.min(self.end(start)).max(start);
        start..self.text.floor_char_boundary(end)
    }
}
