//! Which kinds of packets a rule's conditions on protocol, flags and types hold for.

use crate::model::firewall::{Action, IpProtocol, Rule};

/// What the packet path knows of a packet's transport header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Another protocol than those below, or ICMP of the other family.
    Protocol(u8),
    /// TCP with these flags.
    Tcp(u8),
    /// ICMP of the packet's own family, with this type.
    Icmp(IpProtocol, u8),
    /// A fragment but the first, of this protocol.
    Later(u8),
}

/// Whether a rule asks about the kind at all.
pub(super) fn asks_kind(rule: &Rule) -> bool {
    rule.protocol.is_some() || asks_header(rule)
}

/// Whether a rule asks about what stands in the transport header.
fn asks_header(rule: &Rule) -> bool {
    asks_ports(rule) || rule.tcp_flags.is_some() || !rule.icmp_types.is_empty()
}

fn asks_ports(rule: &Rule) -> bool {
    !rule.sports.is_empty() || !rule.dports.is_empty()
}

/// Whether a rule may match packets of a kind; ports are looked at elsewhere.
///
/// A later fragment has no transport header. It is worth nothing without the first one, which has. So it passes
/// where its first one may have passed: a rule that accepts takes it, whatever it asks of the header, and a rule that
/// drops does not.
pub(super) fn holds(rule: &Rule, kind: Kind) -> bool {
    let protocol = match kind {
        Kind::Protocol(number) | Kind::Later(number) => IpProtocol(number),
        Kind::Tcp(_) => IpProtocol::TCP,
        Kind::Icmp(protocol, _) => protocol,
    };
    let is_of_protocol = rule.protocol.is_none_or(|wanted| wanted == protocol);
    let has_ports = matches!(protocol, IpProtocol::TCP | IpProtocol::UDP);
    is_of_protocol && (!asks_ports(rule) || has_ports) && header_holds(rule, kind)
}

fn header_holds(rule: &Rule, kind: Kind) -> bool {
    let (flags, types) = (rule.tcp_flags, &rule.icmp_types);
    match kind {
        Kind::Protocol(_) => flags.is_none() && types.is_empty(),
        Kind::Tcp(bits) => {
            types.is_empty() && flags.is_none_or(|flags| bits & flags.mask == flags.value)
        }
        Kind::Icmp(_, kind) => flags.is_none() && (types.is_empty() || types.contains(&kind)),
        Kind::Later(_) => rule.action == Action::Accept || !asks_header(rule),
    }
}
