//! A table of frames that leave a backend, and of what becomes of their MSS; built with etherparse.

use crate::cast::packet::{Packet, tcp};
use crate::cast::{Cast, FAMILIES};

/// A frame before and after.
#[derive(Clone, Debug)]
pub struct Leaving {
    pub name: &'static str,
    pub before: Vec<u8>,
    pub after: Vec<u8>,
}

/// What [`super::tunnels::backend`] asks for.
fn most(cast: Cast) -> u16 {
    if cast.vip.is_ipv4() { 1400 } else { 1380 }
}

fn size(segment: u16) -> [u8; 4] {
    let [high, low] = segment.to_be_bytes();
    [2, 4, high, low]
}

fn answer(cast: Cast) -> Packet {
    tcp(cast.vip, cast.client).syn().ack()
}

/// `before` and `after` are the options around the segment size; all of them fill whole words.
fn clamped(cast: Cast, name: &'static str, before: &[u8], after: &[u8]) -> Leaving {
    let with =
        |segment| answer(cast).tcp_options(&[before, &size(segment), after].concat()).bytes();
    Leaving { name, before: with(1460), after: with(most(cast)) }
}

fn kept(name: &'static str, packet: &Packet) -> Leaving {
    Leaving { name, before: packet.bytes(), after: packet.bytes() }
}

fn of(cast: Cast) -> Vec<Leaving> {
    let wide = size(1460);
    let from_other = tcp(cast.other_vip, cast.client).syn().ack();
    vec![
        clamped(cast, "alone", &[], &[]),
        clamped(cast, "first of several", &[], &[4, 2, 1, 3, 3, 7, 0, 0]),
        clamped(cast, "at an odd place", &[1], &[1, 1, 1]),
        clamped(cast, "behind many", &[1; 36], &[]),
        clamped(cast, "behind many, at an odd place", &[1; 35], &[0]),
        clamped(cast, "behind a long one", &[&[30, 34], [9; 32].as_slice()].concat(), &[1, 1]),
        kept("small enough", &answer(cast).tcp_options(&size(most(cast)))),
        kept("without", &answer(cast).tcp_options(&[1, 1, 4, 2])),
        kept("without options", &answer(cast)),
        kept("behind the end", &answer(cast).tcp_options(&[&[0, 0, 0, 0], &wide[..]].concat())),
        kept("of a wrong length", &answer(cast).tcp_options(&[2, 3, 5, 180])),
        kept(
            "behind a length of none",
            &answer(cast).tcp_options(&[&[9, 0, 1, 1], &wide[..]].concat()),
        ),
        kept("of another address", &from_other.tcp_options(&wide)),
        kept("to a VIP", &tcp(cast.client, cast.vip).syn().tcp_options(&wide)),
        kept("not of a SYN", &tcp(cast.vip, cast.client).ack().tcp_options(&wide)),
        kept("of a fragment", &answer(cast).tcp_options(&wide).fragment(0, true)),
    ]
}

/// The whole table.
pub fn table() -> Vec<Leaving> {
    let tagged = |leaving: Leaving| {
        let tag = |frame: &[u8]| [&frame[..12], &[0x81, 0, 0, 5], &frame[12..]].concat();
        Leaving { before: tag(&leaving.before), after: tag(&leaving.after), ..leaving }
    };
    let plain: Vec<_> = FAMILIES.into_iter().flat_map(of).collect();
    plain.iter().cloned().chain(plain.iter().cloned().map(tagged)).collect()
}
