//! Results as a table with bars.

use std::fmt::Write;

use super::row::Row;

/// Length of the longest bar.
const WIDTH: u32 = 24;

/// The table; bars are as long as values, within a benchmark and its unit.
pub(crate) fn table(rows: &[Row]) -> String {
    let widest = rows.iter().map(|row| row.case.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    let mut last = "";
    for row in rows {
        if row.bench != last {
            let [case, flows, value] = ["CASE", "FLOWS", "MEDIAN"];
            let title = format!("{:<8}{case:<widest$}{flows:>9}{value:>17}", row.bench);
            writeln!(text, "\n{title}  {:<13}{:<26}BESIDE", "HALF WITHIN", "").ok();
            last = row.bench;
        }
        let same = rows.iter().filter(|other| (other.bench, other.unit) == (row.bench, row.unit));
        let most = same.map(|other| other.value).fold(0.0, f64::max);
        // Writing to a string cannot fail.
        writeln!(text, "{}", line(row, widest, most).trim_end()).ok();
    }
    text
}

fn line(row: &Row, widest: usize, most: f64) -> String {
    let Row { case, family, flows, value, unit, spread, .. } = row;
    let value = format!("{} {unit}", number(*value, unit));
    let spread = format!("{}..{}", number(spread.low, unit), number(spread.high, unit));
    let start = format!("  {family:<6}{case:<widest$}{flows:>9}{value:>17}");
    let bar = bar(row.value, most);
    format!("{start}  {spread:<13}{bar:<26}{}", beside(row))
}

fn beside(row: &Row) -> String {
    let Some(floor) = &row.floor else { return String::new() };
    let ratio = row.ratio.map(|ratio| format!("{ratio:.2} of ")).unwrap_or_default();
    format!("{ratio}{} ({})", floor.name, number(floor.value, row.unit))
}

/// Three digits are enough, but of per cents what is missing to a hundred counts too.
pub(crate) fn number(value: f64, unit: &str) -> String {
    if value.abs() < 10.0 || unit == "%" { format!("{value:.2}") } else { format!("{value:.0}") }
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
        let bars: Vec<_> = table.lines().map(|line| line.matches('█').count()).collect();
        assert_eq!(bars, [0, 0, 6, 24], "{table}");
    }
}
