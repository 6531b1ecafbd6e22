//! The first rule that is in all rows of a packet.

use lb_common::layout::firewall::{MAX_ROWS, MAX_RULES, ROW_ALL, RULE_WORDS, Row};

use super::maps::Maps;
use crate::verifier::{at, rolled};

/// How many properties of a packet lead to rows.
const PROPERTIES: usize = 7;

/// The numbers of the rows that a packet's properties lead to; [`ROW_ALL`] where no rule asks.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Rows {
    /// By the source address.
    pub source: u32,
    /// By the destination address.
    pub destination: u32,
    /// By the source port.
    pub source_port: u32,
    /// By the destination port.
    pub destination_port: u32,
    /// By protocol, flags, type.
    pub kind: u32,
    /// By the interface.
    pub interface: u32,
    /// By the service.
    pub service: u32,
}

impl Rows {
    /// Those of a packet about which nobody asks.
    pub const ALL: Self = Self {
        source: ROW_ALL,
        destination: ROW_ALL,
        source_port: ROW_ALL,
        destination_port: ROW_ALL,
        kind: ROW_ALL,
        interface: ROW_ALL,
        service: ROW_ALL,
    };

    /// Those in two words.
    #[inline(always)]
    pub fn packed(&self) -> (u64, u64) {
        let [a, b, c, d] = [self.source, self.destination, self.source_port, self.destination_port];
        (packed(a, b, c, d), packed(self.kind, self.interface, self.service, 0))
    }
}

#[inline(always)]
fn packed(a: u32, b: u32, c: u32, d: u32) -> u64 {
    u64::from(a) | (u64::from(b) << 16) | (u64::from(c) << 32) | (u64::from(d) << 48)
}

/// The first rule that is in all rows of a packet, from the one on that stands behind the rows, or [`MAX_RULES`].
#[inline(always)]
pub fn first_rule<M: Maps>(maps: &M, half: u32, addresses_and_ports: u64, others: u64) -> u32 {
    let from = (others >> 48) as u32;
    search(maps, half, (addresses_and_ports, others), from).unwrap_or(MAX_RULES as u32)
}

#[inline(always)]
fn search<M: Maps>(maps: &M, half: u32, rows: (u64, u64), from: u32) -> Option<u32> {
    let (first, others) = (from / 64, u64::MAX << (from % 64));
    let mut words = common(maps, half, rows, |row| row.used)? & (u64::MAX << (first % 64));
    for _ in rolled(RULE_WORDS) {
        if words == 0 {
            break;
        }
        let word = words.trailing_zeros();
        let all = common(maps, half, rows, |row| at(&row.rules, word as usize))?;
        let rules = if word == first { all & others } else { all };
        if rules != 0 {
            return Some(word * 64 + rules.trailing_zeros());
        }
        words &= words - 1;
    }
    None
}

/// What all rows have in a word. In a loop: there would be one way for each set of properties about which no rule asks.
#[inline(always)]
fn common<M: Maps>(
    maps: &M,
    half: u32,
    (mut rows, mut others): (u64, u64),
    word: impl Fn(&Row) -> u64,
) -> Option<u64> {
    let of = |row| Some(word(maps.row(half * MAX_ROWS + row)?));
    let mut common = of(ROW_ALL)?;
    for _ in rolled(PROPERTIES) {
        let row = (rows & 0xffff) as u32;
        if row != ROW_ALL {
            common &= of(row)?;
        }
        rows = (rows >> 16) | (others << 48);
        others >>= 16;
    }
    Some(common)
}

/// Whether a rule is in a row.
#[inline(always)]
pub fn contains<M: Maps>(maps: &M, half: u32, row: u32, rule: u32) -> bool {
    let word =
        maps.row(half * MAX_ROWS + row).map_or(0, |row| at(&row.rules, (rule / 64) as usize));
    (word >> (rule % 64)) & 1 != 0
}
