//! Sets of random prefixes, and random addresses in them and beside them.

use std::collections::{BTreeSet, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::super::feed::Family;
use super::random::Random;

/// How long the prefixes of a set are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// IPv4: 90% /24, the others /16 to /23.
    Networks,
    /// IPv4: 60% /32, 30% /24, the others /16 to /23.
    Mixed,
    /// IPv6: 80% /32 to /64, the others /128.
    V6,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Networks, Self::Mixed, Self::V6];

    /// As cases name it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Networks => "ipv4",
            Self::Mixed => "ipv4 mixed",
            Self::V6 => "ipv6",
        }
    }

    pub(super) fn family(self) -> Family {
        match self {
            Self::Networks | Self::Mixed => Family::V4,
            Self::V6 => Family::V6,
        }
    }

    fn length(self, random: &mut Random) -> u8 {
        let shorter = 16 + random.below(8);
        let length = match (self, random.below(100)) {
            (Self::Networks, 0..90) | (Self::Mixed, 60..90) => 24,
            (Self::Mixed, 0..60) => 32,
            (Self::Networks | Self::Mixed, _) => shorter,
            (Self::V6, 0..80) => 32 + random.below(33),
            (Self::V6, _) => 128,
        };
        u8::try_from(length).unwrap_or_default()
    }

    /// Any address that a host may have: IPv4 without networks 0, 10, 127 and what begins at 224, global IPv6.
    pub(super) fn address(self, random: &mut Random) -> IpAddr {
        if self.family() == Family::V6 {
            return Ipv6Addr::from_bits((random.bits() >> 3) | (1 << 125)).into();
        }
        loop {
            let address = Ipv4Addr::from_bits(u32::try_from(random.number() >> 32).unwrap_or(0));
            if !matches!(address.octets(), [0 | 10 | 127 | 224.., ..]) {
                return address.into();
            }
        }
    }

    /// As many different prefixes.
    pub(super) fn prefixes(self, random: &mut Random, count: usize) -> Vec<IpNet> {
        let mut all = HashSet::new();
        let mut list = Vec::with_capacity(count);
        while list.len() < count {
            let length = self.length(random);
            let prefix = IpNet::new(self.address(random), length).map(|prefix| prefix.trunc());
            list.extend(prefix.ok().filter(|prefix| all.insert(*prefix)));
        }
        list
    }
}

/// Random addresses in random ones of these prefixes.
pub(super) fn inside(random: &mut Random, prefixes: &[IpNet], count: u32) -> Vec<[u64; 2]> {
    let address = |random: &mut Random| {
        let number = random.below(u64::try_from(prefixes.len()).unwrap_or_default());
        let prefix = usize::try_from(number).ok().and_then(|number| prefixes.get(number))?;
        Some(words(with_host_bits(*prefix, random.bits())))
    };
    (0..count).filter_map(|_| address(random)).collect()
}

/// Random addresses in none of these prefixes.
pub(super) fn outside(
    random: &mut Random,
    kind: Kind,
    prefixes: &[IpNet],
    count: u32,
) -> Vec<[u64; 2]> {
    let set: HashSet<IpNet> = prefixes.iter().copied().collect();
    let lengths: BTreeSet<u8> = prefixes.iter().map(IpNet::prefix_len).collect();
    let is_outside = |address: &IpAddr| {
        lengths.iter().all(|length| {
            IpNet::new(*address, *length).is_ok_and(|prefix| !set.contains(&prefix.trunc()))
        })
    };
    let addresses = std::iter::repeat_with(|| kind.address(random));
    let count = usize::try_from(count).unwrap_or_default();
    addresses.filter(is_outside).take(count).map(words).collect()
}

fn with_host_bits(prefix: IpNet, bits: u128) -> IpAddr {
    match prefix {
        IpNet::V4(net) => {
            let bits = u32::try_from(bits >> 96).unwrap_or_default();
            Ipv4Addr::from_bits(net.network().to_bits() | (bits & net.hostmask().to_bits())).into()
        }
        IpNet::V6(net) => {
            Ipv6Addr::from_bits(net.network().to_bits() | (bits & net.hostmask().to_bits())).into()
        }
    }
}

/// As the harness lists it: in network order.
fn words(address: IpAddr) -> [u64; 2] {
    match address {
        IpAddr::V4(address) => [u64::from(u32::from_ne_bytes(address.octets())), 0],
        IpAddr::V6(address) => {
            let mut words = [0; 2];
            let octets = address.octets();
            for (word, chunk) in words.iter_mut().zip(octets.as_chunks::<8>().0) {
                *word = u64::from_ne_bytes(*chunk);
            }
            words
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_outside_lies_in_no_prefix_and_what_is_inside_in_one() {
        for kind in Kind::ALL {
            let random = &mut Random::new(1);
            let prefixes = kind.prefixes(random, 3_000);
            let holds = |words: &[u64; 2]| {
                let address: IpAddr = match kind.family() {
                    Family::V4 => {
                        let bits = u32::try_from(words[0]).unwrap();
                        Ipv4Addr::from(bits.to_ne_bytes()).into()
                    }
                    Family::V6 => {
                        let halves = words.map(u64::to_ne_bytes);
                        let octets: [u8; 16] = halves.as_flattened().try_into().unwrap();
                        Ipv6Addr::from(octets).into()
                    }
                };
                prefixes.iter().any(|prefix| prefix.contains(&address))
            };
            assert!(inside(random, &prefixes, 200).iter().all(holds), "{kind:?}");
            assert!(!outside(random, kind, &prefixes, 200).iter().any(holds), "{kind:?}");
        }
    }
}
