//! Small changes that make valid frames less so.

use crate::pair::Arrival;
use crate::random::Random;

/// The shortest frame that the kernel lets a program be run on.
const SHORTEST: usize = 14;

/// Where headers are, those of a packet that is quoted in an ICMP error included.
const HEADERS: usize = 130;

/// Where the IP header begins; `None`: the frame is not of IP, or too short to tell.
pub fn network(frame: &[u8]) -> Option<usize> {
    let mut at = 12;
    loop {
        match frame.get(at..at + 2)? {
            [0x08, 0x00] | [0x86, 0xdd] => return Some(at + 2),
            [0x81, 0x00] | [0x88, 0xa8] => at += 4,
            _ => return None,
        }
    }
}

/// Changes a frame in one way; as often as not in a field that the packet path looks at.
pub fn mutate(random: &mut Random, arrival: &mut Arrival) {
    let frame = &mut arrival.frame;
    match random.below(8) {
        0 => {
            let at = random.below(frame.len().min(HEADERS));
            frame[at] ^= 1 << random.below(8);
        }
        1 => {
            let at = random.below(frame.len().min(HEADERS));
            frame[at] = random.pick(&[0, 1, 0x45, 0xff, random.clone().byte()]);
        }
        2 => frame.truncate(SHORTEST + random.below(frame.len() - SHORTEST + 1)),
        3 => {
            let count = 1 + random.below(60);
            frame.extend(random.bytes(count));
        }
        4 => push_or_pop_tag(random, frame),
        _ => change_field(random, frame),
    }
}

fn push_or_pop_tag(random: &mut Random, frame: &mut Vec<u8>) {
    if random.chance(50) {
        let kind = random.pick(&[[0x81, 0], [0x88, 0xa8]]);
        frame.splice(12..12, [kind, [0, random.byte()]].concat());
    } else if frame.len() >= SHORTEST + 4 {
        frame.drain(12..16);
    }
}

/// Changes a field of the IP header, or what lies behind it.
fn change_field(random: &mut Random, frame: &mut [u8]) {
    let Some(start) = network(frame) else { return };
    let Some(header) = frame.get_mut(start..) else { return };
    let is_v4 = header.first().is_some_and(|first| first >> 4 == 4);
    let ttl = random.pick(&[0, 1, 2, 255]);
    let (at, value) = if is_v4 {
        let choices = [
            (8, ttl),                           // time to live
            (0, 0x40 | (random.byte() & 0xf)),  // length of the header
            (2, random.pick(&[0, 1, 5])),       // total length, high byte
            (3, random.byte()),                 // and low byte
            (6, random.pick(&[0x20, 0x40, 1])), // fragmentation
            (9, random.pick(&[6, 17, 1, 112])), // protocol
            (19, random.pick(&[10, 11, 20])),   // destination
            (23, random.byte()),                // destination port
            (27, random.byte()),
            (33, random.byte()), // TCP's flags
        ];
        random.pick(&choices)
    } else {
        let choices = [
            (7, ttl),                                  // hop limit
            (4, random.pick(&[0, 1, 5])),              // length of the payload, high byte
            (5, random.byte()),                        // and low byte
            (6, random.pick(&[0, 6, 17, 43, 44, 58])), // next header
            (39, random.pick(&[0x10, 0x11, 0x20])),    // destination
            (41, random.byte()),                       // an extension's length
            (43, random.byte()),                       // destination port
            (47, random.byte()),
            (53, random.byte()), // TCP's flags
        ];
        random.pick(&choices)
    };
    if let Some(byte) = header.get_mut(at) {
        *byte = value;
    }
}
