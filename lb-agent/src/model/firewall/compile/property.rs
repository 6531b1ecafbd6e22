//! From the properties of packets to rows.

use std::collections::BTreeSet;

use lb_common::layout::firewall::{PAGE, Row, SERVICE_PAGES, service};

use super::address::Addresses;
use super::class::Uses;
use super::row::{Rows, Rules, row_of};
use super::{CompileError, Names, Rule, kind, port};

/// The rows, and what leads to them but addresses.
#[derive(Debug)]
pub(super) struct Properties {
    pub(super) rows: Vec<Row>,
    pub(super) ports: Vec<[u16; PAGE]>,
    pub(super) kinds: Vec<[u16; PAGE]>,
    pub(super) services: Vec<[u32; PAGE]>,
    pub(super) links: Vec<(Option<String>, u32)>,
}

impl Properties {
    pub(super) fn compile(
        rules: &Rules,
        addresses: &Addresses,
        names: &Names,
    ) -> Result<Self, CompileError> {
        let mut rows = Rows::default();
        rows.push(&rules.row(|_| true))?;
        for uses in addresses.classes.list() {
            rows.push(&class_row(rules, uses, 0))?;
            rows.push(&class_row(rules, uses, 1))?;
        }
        let ports = [
            port::pages(rules, &mut rows, |rule| &rule.sports)?,
            port::pages(rules, &mut rows, |rule| &rule.dports)?,
        ];
        let kinds = kind::pages(rules, &mut rows)?;
        let services = services(rules, &mut rows, names)?;
        let links = links(rules, &mut rows)?;
        Ok(Self { rows: rows.into_list(), ports: ports.concat(), kinds, services, links })
    }
}

/// The row of a class as a source (0) or a destination (1).
fn class_row(rules: &Rules, uses: &Uses, side: u32) -> Row {
    let named = |rule: &Rule| if side == 0 { rule.sources.len() } else { rule.destinations.len() };
    let free = (0..).zip(rules.iter()).filter(|(_, rule)| named(rule) == 0).map(|(n, _)| n);
    let of_side = uses.iter().filter(|number| *number % 2 == side);
    let of_side = of_side.filter_map(|number| usize::try_from(*number / 2).ok());
    row_of(free.chain(of_side))
}

fn services(
    rules: &Rules,
    rows: &mut Rows,
    names: &Names,
) -> Result<Vec<[u32; PAGE]>, CompileError> {
    let mut of = |name: Option<&String>| {
        let holds = |rule: &Rule| rule.service.is_none() || rule.service.as_ref() == name;
        rows.number(&rules.row(holds))
    };
    let others = service(of(None)?, 0);
    let n_pages = usize::try_from(SERVICE_PAGES).unwrap_or_default();
    let mut pages = vec![[others; PAGE]; n_pages];
    for (name, listeners) in &names.services {
        let list = rules.lists.get(name).and_then(|(number, _)| u16::try_from(number + 1).ok());
        let word = service(of(Some(name))?, list.unwrap_or(0));
        for listener in listeners.iter().filter_map(|listener| usize::try_from(*listener).ok()) {
            let entry = pages.as_flattened_mut().get_mut(listener);
            if let Some(entry) = entry {
                *entry = word;
            }
        }
    }
    Ok(pages)
}

/// Rows by name of an interface, and that of those that no rule names.
fn links(rules: &Rules, rows: &mut Rows) -> Result<Vec<(Option<String>, u32)>, CompileError> {
    let named: BTreeSet<&String> =
        rules.iter().filter_map(|rule| rule.interface.as_ref()).collect();
    let all = [None].into_iter().chain(named.into_iter().map(Some));
    let row = |name: Option<&String>| {
        let holds = |rule: &Rule| rule.interface.is_none() || rule.interface.as_ref() == name;
        Ok((name.cloned(), u32::from(rows.number(&rules.row(holds))?)))
    };
    all.map(row).collect()
}
