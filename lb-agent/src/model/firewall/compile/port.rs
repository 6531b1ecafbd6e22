//! From ports to rows.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use lb_common::layout::firewall::PAGE;

use super::row::{Rows, Rules};
use super::{CompileError, Rule};

/// The rows of all ports in one direction, 256 pages.
pub(super) fn pages(
    rules: &Rules,
    rows: &mut Rows,
    ranges: fn(&Rule) -> &[RangeInclusive<u16>],
) -> Result<Vec<[u16; PAGE]>, CompileError> {
    let all = rules.iter().flat_map(ranges);
    // Where another set of rules may begin to hold.
    let starts: BTreeSet<usize> = all
        .flat_map(|range| [usize::from(*range.start()), usize::from(*range.end()) + 1])
        .chain([0, PORTS])
        .collect();
    let starts: Vec<usize> = starts.into_iter().collect();
    let mut ports = vec![0; PORTS];
    for pair in starts.windows(2) {
        let &[start, end] = pair else { continue };
        let port = u16::try_from(start).unwrap_or(u16::MAX);
        let row = rules.row(|rule| {
            let ranges = ranges(rule);
            ranges.is_empty() || ranges.iter().any(|range| range.contains(&port))
        });
        let row = rows.number(&row)?;
        ports.get_mut(start..end).into_iter().for_each(|ports| ports.fill(row));
    }
    Ok(ports.as_chunks::<PAGE>().0.to_vec())
}

const PORTS: usize = 65_536;
