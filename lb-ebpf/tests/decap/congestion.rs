//! What becomes of marks of congestion (RFC 6040 section 4.2): the outer packet is marked, the inner says
//! whether its sender heeds that.

use lb_common::decap::Verdict;

use super::tunnels::{Carrier, Case, carry_bytes, request};
use crate::cast::Cast;

/// Sets the two bits in an IP packet; IPv4's checksum is made by etherparse.
fn marked(mut ip: Vec<u8>, mark: u8) -> Vec<u8> {
    if ip[0] >> 4 == 6 {
        ip[1] = ip[1] & 0xcf | mark << 4;
        return ip;
    }
    ip[1] = ip[1] & 0xfc | mark;
    let (header, rest) = etherparse::Ipv4Header::from_slice(&ip).unwrap();
    let mut header = header;
    header.header_checksum = header.calc_header_checksum();
    [&header.to_bytes(), rest].concat()
}

fn frame(link: &[u8], ip: &[u8]) -> Vec<u8> {
    [link, ip].concat()
}

pub fn cases(outer: Cast, carrier: Carrier, inner: Cast) -> Vec<Case> {
    let plain = request(inner);
    let protocol = if inner.vip.is_ipv4() { 4 } else { 41 };
    let case = |outer_mark: u8, inner_mark: u8, verdict, after_mark: u8| {
        let within = marked(plain.ip_bytes(), inner_mark);
        let carrier = carry_bytes(outer, carrier, protocol, &within);
        let before = frame(&carrier.bytes()[..14], &marked(carrier.ip_bytes(), outer_mark));
        let after = if verdict == Verdict::Decapsulated {
            frame(&plain.bytes()[..14], &marked(plain.ip_bytes(), after_mark))
        } else {
            before.clone()
        };
        let name = format!("congestion {outer_mark} over {inner_mark}");
        Case { name, frame: before, verdict, after }
    };
    let yes = Verdict::Decapsulated;
    vec![
        case(3, 0, Verdict::Congestion, 0),
        case(3, 1, yes, 3),
        case(3, 2, yes, 3),
        case(3, 3, yes, 3),
        case(2, 1, yes, 1),
        case(0, 3, yes, 3),
    ]
}
