//! A result: what `--json` prints and the table shows.

use serde::Serialize;

use super::failover::Failover;
use super::statistics::Spread;

/// Nanoseconds below which a floor is shown, but nothing is divided by it.
const SMALLEST_NS: f64 = 5.0;

/// What a floor came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Floor {
    /// What was compared with.
    pub(crate) name: String,
    /// Its median.
    pub(crate) value: f64,
}

/// What a case came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Row {
    /// The benchmark.
    pub(crate) bench: &'static str,
    /// What was measured.
    pub(crate) case: String,
    /// `IPv4` or `IPv6`.
    pub(crate) family: &'static str,
    /// Number of flows that took part.
    pub(crate) flows: u32,
    /// The median.
    pub(crate) value: f64,
    /// Its unit.
    pub(crate) unit: &'static str,
    /// What it is compared with.
    pub(crate) floor: Option<Floor>,
    /// The value by the floor's: the median of the quotients of all rounds.
    pub(crate) ratio: Option<f64>,
    /// Half of all rounds lie between these.
    pub(crate) spread: Spread,
    /// What else there is to say of failovers.
    #[serde(flatten)]
    pub(crate) failover: Option<Failover>,
}

impl Row {
    /// Of the values of all rounds, not yet compared.
    pub(crate) fn of(
        bench: &'static str,
        case: &str,
        (family, flows): (&'static str, u32),
        unit: &'static str,
        values: &[f64],
    ) -> Self {
        let spread = Spread::of(values.iter().copied());
        let (case, value) = (case.to_owned(), spread.median);
        Self {
            bench,
            case,
            family,
            flows,
            value,
            unit,
            floor: None,
            ratio: None,
            spread,
            failover: None,
        }
    }

    /// Compared with a floor of the same rounds.
    pub(crate) fn beside(self, name: &str, values: &[f64], floors: &[f64]) -> Self {
        let value = Spread::of(floors.iter().copied()).median;
        // The kernel tells whole nanoseconds.
        let is_too_small = self.unit == "ns" && value < SMALLEST_NS;
        let ratio = (!is_too_small).then(|| Spread::of_ratios(values, floors).median);
        Self { floor: Some(Floor { name: name.to_owned(), value }), ratio, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_an_object_that_names_what_it_is_compared_with() {
        let values = [30.0, 20.0, 40.0];
        let row = Row::of("packet", "nat known", ("IPv4", 1), "ns", &values);
        let row = row.beside("LRU hash", &values, &[10.0, 20.0, 10.0]);
        let json = serde_json::to_value(&row).unwrap();
        assert_eq!(json["case"], "nat known");
        assert_eq!(json["flows"], 1);
        assert_eq!(json["value"], 30.0);
        assert_eq!(json["floor"]["name"], "LRU hash");
        assert_eq!(json["floor"]["value"], 10.0);
        assert_eq!(json["ratio"], 3.0);
        for key in ["bench", "family", "unit", "spread"] {
            assert!(!json[key].is_null(), "{key}");
        }
    }
}
