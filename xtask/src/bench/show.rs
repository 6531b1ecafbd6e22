//! Results as a table with bars.

use std::fmt::Write;

use super::row::Row;

/// Length of the longest bar.
const WIDTH: u32 = 24;

/// The table; bars are as long as values, within a benchmark and its unit.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut text = String::new();
    let mut last = "";
    for row in rows {
        if row.bench != last {
            let [case, flows, value] = ["CASE", "FLOWS", "VALUE"];
            writeln!(text, "\n{:<8}{case:<34}{flows:>10}{value:>12}  RATIO", row.bench).ok();
            last = row.bench;
        }
        let same = rows.iter().filter(|other| (other.bench, other.unit) == (row.bench, row.unit));
        let most = same.map(|other| other.value).fold(0.0, f64::max);
        line(&mut text, row, most);
    }
    text
}

fn line(text: &mut String, row: &Row, most: f64) {
    let Row { case, family, flows, value, unit, spread, .. } = row;
    let value = format!("{} {unit}", number(*value));
    let ratio = match &row.floor {
        Some(floor) => {
            let ratio =
                row.ratio.map_or_else(|| "beside".to_owned(), |ratio| format!("{ratio:.2} of"));
            format!("{ratio} {} ({})", floor.name, number(floor.value))
        }
        None => String::new(),
    };
    let bar = bar(row.value, most);
    let spread = format!("{}-{}", number(spread.low), number(spread.high));
    // Writing to a string cannot fail.
    writeln!(
        text,
        "  {family:<6}{case:<34}{flows:>10}{value:>12}  {spread:>11}  {bar:<24}  {ratio}"
    )
    .ok();
}

/// Three digits are enough.
fn number(value: f64) -> String {
    if value.abs() < 10.0 { format!("{value:.2}") } else { format!("{value:.0}") }
}

fn bar(value: f64, most: f64) -> String {
    (1..=WIDTH)
        .filter(|part| f64::from(*part) <= value / most * f64::from(WIDTH))
        .map(|_| '█')
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_value_has_the_longest_bar() {
        let rows =
            [10.0, 40.0].map(|value| Row::of("packet", "known", ("IPv4", 1), "ns", &[value]));
        let table = table(&rows);
        assert!(table.contains(&format!(" {} ", "█".repeat(24))), "{table}");
        assert!(table.contains(&format!(" {} ", "█".repeat(6))), "{table}");
    }
}
