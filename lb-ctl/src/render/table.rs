//! Tables without borders. A column is data: its heading, and how a row fills it.

use comfy_table::{CellAlignment, Color, ContentArrangement, presets};

use super::Look;

/// What a word means to an operator; shown as a colour where there are colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Good,
    Warning,
    Bad,
}

impl Tone {
    fn color(self) -> Option<Color> {
        match self {
            Self::Plain => None,
            Self::Good => Some(Color::DarkGreen),
            Self::Warning => Some(Color::DarkYellow),
            Self::Bad => Some(Color::DarkRed),
        }
    }
}

/// A word with its tone: the colour never stands alone.
#[derive(Clone, Debug)]
pub(crate) struct Word {
    pub(crate) text: String,
    pub(crate) tone: Tone,
}

impl Word {
    pub(crate) fn new(text: &str, tone: Tone) -> Self {
        Self { text: text.to_owned(), tone }
    }
}

impl<T: ToString> From<T> for Word {
    fn from(value: T) -> Self {
        Self { text: value.to_string(), tone: Tone::Plain }
    }
}

pub(crate) struct Column<T> {
    heading: &'static str,
    fill: fn(&T) -> Word,
    right: bool,
    wide: bool,
}

impl<T> Column<T> {
    pub(crate) fn new(heading: &'static str, fill: fn(&T) -> Word) -> Self {
        Self { heading, fill, right: false, wide: false }
    }

    /// A number.
    pub(crate) fn right(self) -> Self {
        Self { right: true, ..self }
    }

    /// Shown with `-o wide` only.
    pub(crate) fn wide(self) -> Self {
        Self { wide: true, ..self }
    }
}

/// A heading and a line per row, each line with its end.
pub(crate) fn table<T>(columns: &[Column<T>], rows: &[T], look: Look) -> String {
    let columns: Vec<_> = columns.iter().filter(|column| look.wide || !column.wide).collect();
    let mut table = comfy_table::Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    if look.colour {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table.set_header(columns.iter().map(|column| column.heading));
    for row in rows {
        table.add_row(columns.iter().map(|column| cell((column.fill)(row))));
    }
    for (index, column) in columns.iter().enumerate() {
        if let Some(shown) = table.column_mut(index) {
            shown.set_padding((0, 2));
            if column.right {
                shown.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
    table.trim_fmt() + "\n"
}

fn cell(word: Word) -> comfy_table::Cell {
    let cell = comfy_table::Cell::new_owned(word.text);
    match word.tone.color() {
        Some(color) => cell.fg(color),
        None => cell,
    }
}

/// Lines of a name and a value, the values in one column.
pub(crate) fn pairs(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let line = |(name, value): &(&str, String)| {
        format!("{name:width$}  {value}").trim_end().to_owned() + "\n"
    };
    pairs.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns() -> [Column<(&'static str, u64)>; 3] {
        [
            Column::new("NAME", |row: &(&str, u64)| row.0.into()),
            Column::new("FLOWS", |row: &(&str, u64)| row.1.into()).right(),
            Column::new("STATE", |_row| Word::new("up", Tone::Good)).wide(),
        ]
    }

    const ROWS: [(&str, u64); 2] = [("web1", 7), ("a-long-name", 12_345)];

    #[test]
    fn columns_line_up_without_borders() {
        assert_eq!(
            table(&columns(), &ROWS, Look::default()),
            "\
NAME         FLOWS
web1             7
a-long-name  12345
"
        );
    }

    #[test]
    fn wide_shows_more_columns() {
        assert_eq!(
            table(&columns(), &ROWS, Look { wide: true, colour: false }),
            "\
NAME         FLOWS  STATE
web1             7  up
a-long-name  12345  up
"
        );
    }

    #[test]
    fn without_rows_the_headings_remain() {
        assert_eq!(table(&columns(), &[], Look::default()), "NAME  FLOWS\n");
    }

    #[test]
    fn a_colour_surrounds_its_word_and_only_where_colours_are_allowed() {
        let plain = table(&columns(), &ROWS, Look { wide: true, colour: false });
        let coloured = table(&columns(), &ROWS, Look { wide: true, colour: true });
        assert!(!plain.contains('\u{1b}'));
        assert!(coloured.contains('\u{1b}') && coloured.contains("up"), "{coloured:?}");
    }

    #[test]
    fn values_of_pairs_stand_in_one_column() {
        let shown = pairs(&[("name", "shop".into()), ("health check", "web".into())]);
        assert_eq!(shown, "name          shop\nhealth check  web\n");
    }
}
