//! What is the same for all packets, from `[datapath]`.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use lb_common::cell;
use lb_common::layout::{Address, MAX_NAT_SOURCES, Settings, address};
use zerocopy::FromZeros;

use crate::model::config::{Datapath, Fragments, FullNat, Timeouts, Tunnel};

/// The settings; what the maps were made with is zero.
pub(super) fn settings(datapath: &Datapath) -> Settings {
    let mut settings = Settings {
        timeouts: ticks(&datapath.timeouts),
        follow_fragments: u16::from(datapath.fragments == Fragments::Follow),
        ..Settings::new_zeroed()
    };
    set_full_nat(&mut settings, &datapath.full_nat);
    set_tunnel(&mut settings, &datapath.tunnel);
    settings
}

fn set_full_nat(settings: &mut Settings, full_nat: &FullNat) {
    let words = |source: &IpAddr| address(*source).0;
    let of_family = |is_ipv4| {
        let sources = full_nat.sources.iter().filter(move |source| source.is_ipv4() == is_ipv4);
        sources.take(MAX_NAT_SOURCES).map(words)
    };
    for (place, [word, ..]) in settings.nat_v4.iter_mut().zip(of_family(true)) {
        *place = word;
        settings.nat_sources[0] += 1;
    }
    for (place, words) in settings.nat_v6.iter_mut().zip(of_family(false)) {
        *place = words;
        settings.nat_sources[1] += 1;
    }
    if !full_nat.sources.is_empty() {
        let (first, last) = (*full_nat.ports.start(), *full_nat.ports.end());
        settings.nat_first_port = first;
        settings.nat_ports = (last - first).saturating_add(1);
    }
}

fn set_tunnel(settings: &mut Settings, tunnel: &Tunnel) {
    settings.gue_port = tunnel.gue_port.to_be();
    for source in &tunnel.sources {
        let words: Address = address(source.addr()).0;
        match source {
            IpNet::V4(source) => {
                settings.tunnel_v4 = words[0];
                settings.tunnel_v4_entropy = u32::from(source.hostmask()).to_be();
            }
            IpNet::V6(source) => {
                let [.., last] = address(source.hostmask().into()).0;
                settings.tunnel_v6 = words;
                settings.tunnel_v6_entropy = last;
            }
        }
    }
}

/// Ticks that are no shorter than the duration.
pub(super) fn whole_ticks(duration: Duration) -> u32 {
    u32::try_from(duration.as_nanos().div_ceil(1 << cell::TICK_SHIFT)).unwrap_or(u32::MAX)
}

/// Idle timeouts in ticks by number of the cell's state; no flow is dropped before its timeout.
fn ticks(timeouts: &Timeouts) -> [u16; 8] {
    let ticks = |timeout: Duration| {
        u16::try_from(whole_ticks(timeout)).unwrap_or(u16::MAX).min(cell::MAX_TIMEOUT_TICKS)
    };
    let by_state = |index: u8| match cell::State::from_number(index.into()) {
        Some(cell::State::Syn | cell::State::SynAck) => ticks(timeouts.tcp_syn),
        Some(cell::State::Established | cell::State::HalfClosed) => ticks(timeouts.tcp_established),
        Some(cell::State::Closing) => ticks(timeouts.tcp_fin),
        Some(cell::State::Udp) => ticks(timeouts.udp),
        None => 0,
    };
    [0, 1, 2, 3, 4, 5, 6, 7].map(by_state)
}
