//! From kinds of packets to rows.

use lb_common::layout::firewall::{
    KIND_ICMP, KIND_ICMPV6, KIND_LATER, KIND_PROTOCOL, KIND_TCP, KINDS, PAGE,
};

use super::CompileError;
use super::condition::{Kind, holds};
use super::row::{Rows, Rules};
use crate::model::firewall::IpProtocol;

/// The rows of all kinds, a page for each.
pub(super) fn pages(rules: &Rules, rows: &mut Rows) -> Result<Vec<[u16; PAGE]>, CompileError> {
    let mut pages = Vec::new();
    for page in 0..KINDS {
        let mut entries = [0; PAGE];
        for (value, entry) in (0..=u8::MAX).zip(&mut entries) {
            let kind = kind(page, value);
            *entry = rows.number(&rules.row(|rule| holds(rule, kind)))?;
        }
        pages.push(entries);
    }
    Ok(pages)
}

fn kind(page: u32, value: u8) -> Kind {
    match page {
        KIND_TCP => Kind::Tcp(value),
        KIND_ICMP => Kind::Icmp(IpProtocol::ICMP, value),
        KIND_ICMPV6 => Kind::Icmp(IpProtocol::ICMPV6, value),
        KIND_LATER => Kind::Later(value),
        _ => {
            debug_assert_eq!(page, KIND_PROTOCOL);
            Kind::Protocol(value)
        }
    }
}
