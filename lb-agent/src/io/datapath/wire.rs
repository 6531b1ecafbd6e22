//! The keys of the maps of listeners and VIPs, of which there is one for each family.

use std::net::IpAddr;

use lb_common::layout::{self, Address, ListenerKeyV4, ListenerKeyV6};

use crate::model::tables::ListenerKey;

/// The key of one of two maps.
pub(super) enum WireKey<V4, V6> {
    V4(V4),
    V6(V6),
}

/// The key of a listener.
pub(super) fn listener_key(key: ListenerKey) -> WireKey<ListenerKeyV4, ListenerKeyV6> {
    let (address, port, _) = layout::endpoint(key.address);
    let (protocol, reserved) = (key.protocol_number(), 0);
    match vip_key(key.address.ip()) {
        WireKey::V4(address) => WireKey::V4(ListenerKeyV4 { address, port, protocol, reserved }),
        WireKey::V6(_) => WireKey::V6(ListenerKeyV6 { address, port, protocol, reserved }),
    }
}

/// The key of a VIP.
pub(super) fn vip_key(vip: IpAddr) -> WireKey<u32, Address> {
    let (words, _) = layout::address(vip);
    if vip.is_ipv4() { WireKey::V4(words[0]) } else { WireKey::V6(words) }
}

/// The listener with this key; `None` for a protocol that is not balanced.
pub(super) fn listener_of_v4(key: ListenerKeyV4) -> Option<ListenerKey> {
    let address = layout::socket(&widened(key.address), key.port, 4)?;
    ListenerKey::new(address, key.protocol)
}

/// The listener with this key; `None` for a protocol that is not balanced.
pub(super) fn listener_of_v6(key: &ListenerKeyV6) -> Option<ListenerKey> {
    ListenerKey::new(layout::socket(&key.address, key.port, 6)?, key.protocol)
}

/// The VIP with this key.
pub(super) fn vip_of_v4(word: u32) -> Option<IpAddr> {
    layout::ip(&widened(word), 4)
}

/// The VIP with this key.
pub(super) fn vip_of_v6(words: &Address) -> Option<IpAddr> {
    layout::ip(words, 6)
}

/// The words of the IPv4 address with this word.
fn widened(word: u32) -> Address {
    [word, 0, 0, 0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::config::Protocol;

    #[test]
    fn a_key_survives_the_way_into_the_map_and_back() {
        for (address, protocol) in
            [("203.0.113.10:80", Protocol::Tcp), ("[2001:db8::10]:53", Protocol::Udp)]
        {
            let key = ListenerKey { address: address.parse().unwrap(), protocol };
            let back = match listener_key(key) {
                WireKey::V4(wire) => listener_of_v4(wire),
                WireKey::V6(wire) => listener_of_v6(&wire),
            };
            assert_eq!(back, Some(key));
            let vip = match vip_key(key.address.ip()) {
                WireKey::V4(word) => vip_of_v4(word),
                WireKey::V6(words) => vip_of_v6(&words),
            };
            assert_eq!(vip, Some(key.address.ip()));
        }
        let sctp = ListenerKeyV4 { address: 1, port: 80, protocol: 132, reserved: 0 };
        assert_eq!(listener_of_v4(sctp), None);
    }
}
