//! Rules by number, sets of them as rows, and rows by number.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use lb_common::layout::firewall::{MAX_ROWS, MAX_RULES, RULE_WORDS, Row};

use super::{Action, CompileError, Firewall, Match, Names, Rule, builtins, limit};

/// All rules, those of the firewall's own first, and the lists of who may use services.
#[derive(Debug)]
pub(super) struct Rules {
    all: Vec<Rule>,
    /// Numbers of rules that stand before others only to say that their flows are to be watched.
    watches: BTreeSet<usize>,
    n_builtin: usize,
    /// Numbers of the lists, by service: they follow those of the rules.
    pub(super) lists: BTreeMap<String, (usize, Vec<Match>)>,
}

impl Rules {
    pub(super) fn new(firewall: &Firewall, names: &Names) -> Result<Self, CompileError> {
        let mut all = builtins(firewall, names);
        let n_builtin = all.len();
        let mut watches = BTreeSet::new();
        for rule in &firewall.rules {
            if let Some(watch) = limit::watch(rule) {
                watches.insert(all.len());
                all.push(watch);
            }
            all.push(rule.clone());
        }
        let lists = names.allows.iter().zip(all.len()..);
        let lists: BTreeMap<_, _> = lists
            .map(|((service, list), number)| (service.clone(), (number, list.clone())))
            .collect();
        if all.len() + lists.len() > MAX_RULES {
            return Err(CompileError::Rules);
        }
        Ok(Self { all, watches, n_builtin, lists })
    }

    /// Whether packets have to be looked at.
    pub(super) fn ask_anything(&self, policy: Action) -> bool {
        policy == Action::Drop || self.all.len() > self.n_builtin || !self.lists.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.all.iter()
    }

    /// All of them, and whether they only say that flows are to be watched.
    pub(super) fn watching(&self) -> impl Iterator<Item = (&Rule, bool)> {
        (0..).zip(&self.all).map(|(number, rule)| (rule, self.watches.contains(&number)))
    }

    /// Those of the configuration.
    pub(super) fn user(&self) -> impl Iterator<Item = &Rule> {
        self.all.iter().skip(self.n_builtin)
    }

    /// Those that are in a row, in their order.
    pub(super) fn in_row<'a>(&'a self, row: &'a Row) -> impl Iterator<Item = &'a Rule> {
        let words = (0..).zip(row.rules).filter(|(_, word)| *word != 0);
        let numbers = words.flat_map(|(number, word)| {
            (0..64_usize)
                .filter(move |bit| (word >> bit) & 1 != 0)
                .map(move |bit| 64 * number + bit)
        });
        numbers.filter_map(|number| self.all.get(number))
    }

    /// The row of the rules that this holds for.
    pub(super) fn row(&self, holds: impl Fn(&Rule) -> bool) -> Row {
        let numbers = (0..).zip(&self.all).filter(|(_, rule)| holds(rule));
        row_of(numbers.map(|(number, _)| number))
    }
}

/// The row of these rules.
pub(super) fn row_of(rules: impl IntoIterator<Item = usize>) -> Row {
    let mut row = Row { used: 0, rules: [0; RULE_WORDS] };
    for rule in rules {
        if let Some(word) = row.rules.get_mut(rule / 64) {
            *word |= 1 << (rule % 64);
            row.used |= 1 << (rule / 64);
        }
    }
    row
}

/// Rows by number: those of classes of addresses stand where [`lb_common::layout::firewall::source_row`] says.
#[derive(Debug, Default)]
pub(super) struct Rows {
    list: Vec<Row>,
    numbers: HashMap<Row, u16>,
}

impl Rows {
    /// Adds a row behind all others, whether there is one like it or not.
    pub(super) fn push(&mut self, row: &Row) -> Result<u16, CompileError> {
        let number = u16::try_from(self.list.len()).ok().filter(|n| u32::from(*n) < MAX_ROWS);
        let number = number.ok_or(CompileError::Rows)?;
        self.list.push(*row);
        self.numbers.entry(*row).or_insert(number);
        Ok(number)
    }

    /// The number of a row.
    pub(super) fn number(&mut self, row: &Row) -> Result<u16, CompileError> {
        match self.numbers.get(row) {
            Some(number) => Ok(*number),
            None => self.push(row),
        }
    }

    pub(super) fn into_list(self) -> Vec<Row> {
        self.list
    }
}
