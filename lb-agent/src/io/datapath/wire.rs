//! Addresses, ports and keys as the maps hold them: in network order.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use lb_common::layout::{Address, ListenerKeyV4, ListenerKeyV6};

use crate::model::config::Protocol;
use crate::model::tables::ListenerKey;

/// The word of an IPv4 address.
pub(super) fn v4_word(address: Ipv4Addr) -> u32 {
    u32::from_ne_bytes(address.octets())
}

/// The IPv4 address of a word.
pub(super) fn v4_of_word(word: u32) -> Ipv4Addr {
    Ipv4Addr::from(word.to_ne_bytes())
}

/// The words of an IPv6 address.
pub(super) fn v6_words(address: Ipv6Addr) -> Address {
    zerocopy::transmute!(address.octets())
}

/// The IPv6 address of words.
pub(super) fn v6_of_words(words: Address) -> Ipv6Addr {
    let octets: [u8; 16] = zerocopy::transmute!(words);
    Ipv6Addr::from(octets)
}

/// The key of one of the two maps of listeners.
pub(super) enum WireKey {
    V4(ListenerKeyV4),
    V6(ListenerKeyV6),
}

impl From<ListenerKey> for WireKey {
    fn from(key: ListenerKey) -> Self {
        let port = key.address.port().to_be();
        let protocol = protocol_number(key.protocol);
        match key.address.ip() {
            IpAddr::V4(v4) => {
                Self::V4(ListenerKeyV4 { address: v4_word(v4), port, protocol, reserved: 0 })
            }
            IpAddr::V6(v6) => {
                Self::V6(ListenerKeyV6 { address: v6_words(v6), port, protocol, reserved: 0 })
            }
        }
    }
}

/// The listener key with these parts; `None` for a protocol that is not balanced.
pub(super) fn listener_key(ip: IpAddr, port: u16, protocol: u8) -> Option<ListenerKey> {
    let protocol = [Protocol::Tcp, Protocol::Udp]
        .into_iter()
        .find(|known| protocol_number(*known) == protocol)?;
    Some(ListenerKey { address: SocketAddr::new(ip, u16::from_be(port)), protocol })
}

fn protocol_number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lie_in_memory_as_in_the_packet() {
        let v4 = Ipv4Addr::new(203, 0, 113, 10);
        assert_eq!(v4_word(v4).to_ne_bytes(), [203, 0, 113, 10]);
        assert_eq!(v4_of_word(v4_word(v4)), v4);
        let v6: Ipv6Addr = "2001:db8::10".parse().unwrap();
        assert_eq!(v6_words(v6)[0].to_ne_bytes(), [0x20, 0x01, 0x0d, 0xb8]);
        assert_eq!(v6_of_words(v6_words(v6)), v6);
    }

    #[test]
    fn a_key_survives_the_way_into_the_map_and_back() {
        for (address, protocol) in
            [("203.0.113.10:80", Protocol::Tcp), ("[2001:db8::10]:53", Protocol::Udp)]
        {
            let key = ListenerKey { address: address.parse().unwrap(), protocol };
            let back = match WireKey::from(key) {
                WireKey::V4(wire) => {
                    listener_key(v4_of_word(wire.address).into(), wire.port, wire.protocol)
                }
                WireKey::V6(wire) => {
                    listener_key(v6_of_words(wire.address).into(), wire.port, wire.protocol)
                }
            };
            assert_eq!(back, Some(key));
        }
        assert_eq!(listener_key(Ipv4Addr::LOCALHOST.into(), 80, 132), None);
    }
}
