//! The frames that the harness feeds.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_common::bench::{Feed, LENGTH_V4, LENGTH_V6};

/// Port of the first service.
pub(crate) const FIRST_SERVICE: u16 = 1_000;
/// Number of services; a power of two.
pub(crate) const SERVICES: u16 = 128;

/// A port of the VIPs that no service has.
pub(crate) const CLOSED_PORT: u16 = 9;

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// As results name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    /// As names of programs end.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::V4 => "v4",
            Self::V6 => "v6",
        }
    }

    /// The map of this name that holds what is this family's.
    pub(crate) fn map(self, name: &str) -> String {
        format!("{name}_{}", self.suffix().to_uppercase())
    }

    /// Length of a frame.
    pub(crate) fn length(self) -> usize {
        match self {
            Self::V4 => LENGTH_V4,
            Self::V6 => LENGTH_V6,
        }
    }

    /// The VIP.
    pub(crate) fn vip(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::new(203, 0, 113, 10).into(),
            Self::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, 0x10).into(),
        }
    }

    /// An address that is none of ours.
    pub(crate) fn elsewhere(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::new(203, 0, 113, 99).into(),
            Self::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, 0x99).into(),
        }
    }
}

/// What a client sends in each packet.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Flags {
    /// To open a connection.
    Syn,
    /// In an open one.
    Ack,
}

/// The feed of a client that sends from many addresses to `destination` through the interface `mac`.
pub(crate) fn feed(family: Family, mac: [u8; 6], destination: IpAddr, flags: Flags) -> Feed {
    let tcp = tcp(family, flags);
    let ip = ip(destination, u16::try_from(tcp.len()).unwrap_or_default());
    let addresses = ip.get(ip.len() - 2 * address_length(family)..).unwrap_or_default();
    let mut frame = [mac, [2, 0, 0, 0, 0, 9]].concat();
    frame.extend(match family {
        Family::V4 => [0x08, 0x00],
        Family::V6 => [0x86, 0xdd],
    });
    frame.extend(&ip);
    frame.extend(&tcp);
    let pseudo =
        u32::from(6_u16.to_be()) + u32::from(u16::try_from(tcp.len()).unwrap_or_default().to_be());
    Feed {
        frame: words(&frame),
        next: 0,
        end: 1,
        random_mask: 0,
        random: 1,
        ip_sum: sum(&ip),
        transport_sum: pseudo + sum(addresses) + sum(&tcp),
        first_port: 1_024,
        first_service: FIRST_SERVICE,
        services: u32::from(SERVICES - 1),
        step: 0,
        one_way: 0,
        missed: 0,
    }
}

/// The feed of `sources` addresses that the harness has listed.
pub(crate) fn spread(
    family: Family,
    mac: [u8; 6],
    destination: IpAddr,
    (ports, sources): ((u16, u16), u32),
) -> Feed {
    let feed = feed(family, mac, destination, Flags::Ack);
    let listed = match family {
        Family::V4 => u32::from(u16::from_ne_bytes(CLIENTS_V4)),
        Family::V6 => 0,
    };
    let (first_service, services) = (ports.0, u32::from(ports.1 - 1));
    Feed { ip_sum: feed.ip_sum - listed, end: sources, first_service, services, ..feed }
}

/// First bytes of a client's address.
const CLIENTS_V4: [u8; 2] = [198, 51];

fn address_length(family: Family) -> usize {
    match family {
        Family::V4 => 4,
        Family::V6 => 16,
    }
}

/// An IP header; the last two bytes of the source and IPv4's checksum are left out.
fn ip(destination: IpAddr, payload: u16) -> Vec<u8> {
    match destination {
        IpAddr::V4(destination) => {
            let [high, low] = (payload + 20).to_be_bytes();
            let start = [0x45, 0, high, low, 0, 0, 0x40, 0, 64, 6, 0, 0];
            [&start[..], &CLIENTS_V4, &[0, 0], &destination.octets()].concat()
        }
        IpAddr::V6(destination) => {
            let [high, low] = payload.to_be_bytes();
            let source = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0);
            let start = [0x60, 0, 0, 0, high, low, 6, 64];
            [&start[..], &source.octets(), &destination.octets()].concat()
        }
    }
}

/// A TCP segment without ports and checksum, as long as the frame has room for.
fn tcp(family: Family, flags: Flags) -> Vec<u8> {
    let flags = match flags {
        Flags::Syn => 2,
        Flags::Ack => 16,
    };
    let header = [0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0x50, flags, 0xfa, 0xf0, 0, 0, 0, 0];
    let payload = match family {
        Family::V4 => 10,
        Family::V6 => 6,
    };
    [&header[..], &vec![0; payload]].concat()
}

/// The sum of 16-bit words as they lie in memory; a checksum is the same in either order of bytes.
fn sum(bytes: &[u8]) -> u32 {
    let (words, _) = bytes.as_chunks::<2>();
    words.iter().map(|word| u32::from(u16::from_ne_bytes(*word))).sum()
}

fn words(bytes: &[u8]) -> [u64; 10] {
    let mut words = [0; 10];
    let (chunks, _) = bytes.as_chunks::<8>();
    for (word, chunk) in words.iter_mut().zip(chunks) {
        *word = u64::from_ne_bytes(*chunk);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_have_the_length_that_the_harness_expects() {
        for family in Family::ALL {
            let tcp = tcp(family, Flags::Ack);
            let ip = ip(family.vip(), u16::try_from(tcp.len()).unwrap());
            assert_eq!(14 + ip.len() + tcp.len(), family.length());
        }
    }
}
