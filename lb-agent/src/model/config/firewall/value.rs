//! Values of rules and sets: what may stand in the file, and how it is written.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipnet::IpNet;
use toml::de::DeValue;

use crate::model::config::problem::Fault;
use crate::model::config::value::{Parsed, check_name, integer, nearest, string, type_name};
use crate::model::firewall::{IpProtocol, Match, TcpFlags};

/// Transport protocols that have a name here (IANA: protocol numbers).
const PROTOCOLS: &[(&str, u8)] = &[
    ("icmp", 1),
    ("tcp", 6),
    ("udp", 17),
    ("gre", 47),
    ("esp", 50),
    ("icmpv6", 58),
    ("vrrp", 112),
    ("sctp", 132),
];

/// From FIN, the lowest bit, to CWR.
const FLAGS: [&str; 8] = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"];

/// RFC 792 and IANA: ICMP parameters.
const ICMP_TYPES: &[(&str, u8)] = &[
    ("echo-reply", 0),
    ("destination-unreachable", 3),
    ("redirect", 5),
    ("echo-request", 8),
    ("router-advertisement", 9),
    ("router-solicitation", 10),
    ("time-exceeded", 11),
    ("parameter-problem", 12),
    ("timestamp-request", 13),
    ("timestamp-reply", 14),
];

/// RFC 4443, RFC 4861 and IANA: ICMPv6 parameters.
const ICMPV6_TYPES: &[(&str, u8)] = &[
    ("destination-unreachable", 1),
    ("packet-too-big", 2),
    ("time-exceeded", 3),
    ("parameter-problem", 4),
    ("echo-request", 128),
    ("echo-reply", 129),
    ("router-solicitation", 133),
    ("router-advertisement", 134),
    ("neighbour-solicitation", 135),
    ("neighbour-advertisement", 136),
    ("redirect", 137),
];

/// `@set`, an address or a prefix.
pub(in crate::model::config) fn addresses(value: &DeValue<'_>) -> Parsed<Match> {
    let text = string(value, "\"198.51.100.0/24\" or \"@office\"")?;
    if let Some(name) = text.strip_prefix('@') {
        check_name(name)?;
        return Ok(Match::Set(name.to_owned()));
    }
    prefix_of(text).map(Match::Prefix).map_err(|message| {
        Fault::new(message, "write it as in \"198.51.100.0/24\", or \"@office\" for a set")
    })
}

/// An element of a set.
pub(super) fn element(value: &DeValue<'_>) -> Parsed<IpNet> {
    let text = string(value, "\"198.51.100.0/24\"")?;
    prefix_of(text).map_err(|message| Fault::new(message, "write it as in \"198.51.100.0/24\""))
}

/// An address or a prefix, whose host bits are of no account; what is wrong with it otherwise.
pub(in crate::model) fn prefix_of(text: &str) -> Result<IpNet, String> {
    let address = text.parse::<IpAddr>().map(IpNet::from);
    let prefix = address.or_else(|_| text.parse::<IpNet>());
    let prefix = prefix.map_err(|_| format!("{text:?} is neither an IP address nor a prefix"))?;
    Ok(prefix.trunc())
}

/// The name of a protocol, or its number.
pub(super) fn protocol(value: &DeValue<'_>) -> Parsed<IpProtocol> {
    let names = || PROTOCOLS.iter().map(|(name, _)| *name);
    let help = || {
        let names: Vec<&str> = names().collect();
        format!("write one of {}, or a number from 0 to 255", names.join(", "))
    };
    let text = number_or_text(value, &help())?;
    number_or_name(&text, PROTOCOLS).map(IpProtocol).ok_or_else(|| {
        let near = nearest(&text, names()).map(|near| format!("did you mean {near:?}?"));
        Fault::new(format!("there is no protocol {text:?}"), near.unwrap_or_else(help))
    })
}

/// As it is written.
pub(super) fn protocol_text(protocol: IpProtocol) -> String {
    text_of(protocol.0, PROTOCOLS)
}

/// A port, or two with a hyphen in between.
pub(super) fn ports(value: &DeValue<'_>) -> Parsed<RangeInclusive<u16>> {
    let help = "write a port or the first and the last one, as in \"53\" or \"1024-65535\"";
    let text = number_or_text(value, help)?;
    let (first, last) = text.split_once('-').unwrap_or((&text, &text));
    let range = digits(first.trim()).zip(digits(last.trim()));
    range
        .filter(|(first, last)| first <= last)
        .map(|(first, last)| first..=last)
        .ok_or_else(|| Fault::new(format!("{text:?} is neither a port nor a range of ports"), help))
}

/// As it is written.
pub(super) fn ports_text(ports: &RangeInclusive<u16>) -> String {
    let (first, last) = (ports.start(), ports.end());
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}

/// A port of the host that is protected.
pub(super) fn port(value: &DeValue<'_>) -> Parsed<u16> {
    let port = integer(1..=65_535)(value)?;
    Ok(u16::try_from(port).unwrap_or(u16::MAX))
}

/// Names of flags with commas in between, `!` before those that must not be set.
pub(super) fn tcp_flags(value: &DeValue<'_>) -> Parsed<TcpFlags> {
    let example = "\"syn,!ack\"";
    let text = string(value, example)?;
    let mut flags = TcpFlags { mask: 0, value: 0 };
    for word in text.split(',').map(str::trim) {
        let (name, is_set) = word.strip_prefix('!').map_or((word, true), |name| (name, false));
        let Some(bit) = FLAGS.iter().position(|flag| *flag == name).map(|place| 1_u8 << place)
        else {
            let message = format!("there is no TCP flag {name:?}");
            let help = format!("the flags are {}; write them as in {example}", FLAGS.join(", "));
            return Err(Fault::new(message, help));
        };
        if flags.mask & bit != 0 {
            return Err(Fault::new(format!("the TCP flag {name} is named twice"), "remove one"));
        }
        flags.mask |= bit;
        flags.value |= if is_set { bit } else { 0 };
    }
    Ok(flags)
}

/// As it is written.
pub(super) fn tcp_flags_text(flags: TcpFlags) -> String {
    let bits = FLAGS.iter().enumerate().map(|(place, name)| (1_u8 << place, name));
    let named = bits.filter(|(bit, _)| flags.mask & bit != 0);
    let words =
        named.map(|(bit, name)| format!("{}{name}", if flags.value & bit == 0 { "!" } else { "" }));
    words.collect::<Vec<_>>().join(",")
}

/// A type of ICMP as text, for its meaning depends on the protocol.
pub(super) fn icmp_type_text(value: &DeValue<'_>) -> Parsed<String> {
    number_or_text(value, "write the name of a type or its number, as in \"echo-request\"")
}

/// What a text means in one of the two protocols.
pub(super) fn icmp_type(text: &str, protocol: IpProtocol) -> Parsed<u8> {
    let types = icmp_types(protocol);
    number_or_name(text, types).ok_or_else(|| {
        let message = format!("{} has no type {text:?}", protocol_text(protocol));
        let names: Vec<&str> = types.iter().map(|(name, _)| *name).collect();
        let known = || format!("write a number from 0 to 255, or one of {}", names.join(", "));
        let near = nearest(text, names.iter().copied());
        Fault::new(message, near.map_or_else(known, |near| format!("did you mean {near:?}?")))
    })
}

/// As it is written.
pub(super) fn icmp_type_word(number: u8, protocol: IpProtocol) -> String {
    text_of(number, icmp_types(protocol))
}

fn icmp_types(protocol: IpProtocol) -> &'static [(&'static str, u8)] {
    if protocol == IpProtocol::ICMPV6 { ICMPV6_TYPES } else { ICMP_TYPES }
}

fn number_or_name(text: &str, known: &[(&str, u8)]) -> Option<u8> {
    let named = known.iter().find(|(name, _)| *name == text).map(|(_, number)| *number);
    named.or_else(|| digits(text))
}

/// A number in decimal digits, without a sign.
fn digits<T: std::str::FromStr>(text: &str) -> Option<T> {
    let are_digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| are_digits)
}

fn text_of(number: u8, all: &[(&str, u8)]) -> String {
    let named = all.iter().find(|(_, known)| *known == number);
    named.map_or_else(|| number.to_string(), |(name, _)| (*name).to_owned())
}

/// A string as it is, an integer by its digits.
fn number_or_text(value: &DeValue<'_>, help: &str) -> Parsed<String> {
    let integer = value.as_integer().map(|integer| integer.as_str().to_owned());
    let text = integer.or_else(|| value.as_str().map(str::to_owned));
    text.ok_or_else(|| {
        let message = format!("expected a string or an integer, found {}", type_name(value));
        Fault::new(message, help)
    })
}
