//! One virtual router of a group: an id on an interface, for one address family. It knows how to speak and to
//! listen; what is decided is the group's.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use ipnet::IpNet;

use super::advert::{Advert, HOP_LIMIT, Reason};
use super::group::Spoken;
use super::proof::{Key as ProofKey, Proved, Prover};
use super::{Effect, GROUP_V4, GROUP_V6, Interface, Key, Network, Place, Port, Received, packet};
use crate::model::config::{Vrrp, VrrpAuthentication};

/// The interval that the Active router announces is believed up to so many own ones.
pub(super) const MOST_INTERVALS: u32 = 4;

/// What the configuration says of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settings {
    pub(super) key: Key,
    /// The virtual addresses; with IPv6 led by a link-local one.
    pub(super) addresses: Vec<IpNet>,
    /// The `[[vrrp]]` that it comes from.
    pub(super) entry: Vrrp,
}

/// The last advertisement that counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) from: IpAddr,
    pub(super) priority: u8,
    pub(super) at: Instant,
}

/// A router.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) settings: Settings,
    /// The address that its advertisements come from; `None`: there is none.
    pub(super) source: Option<IpAddr>,
    /// `Active_Adver_Interval`: what the Active router announces.
    pub(super) active_interval: Duration,
    /// When `Active_Down_Timer` fires.
    pub(super) down_at: Instant,
    pub(super) heard: Option<Heard>,
    /// What another router has said of itself.
    pub(super) spoken: Option<Spoken>,
    /// When an advertisement of our own priority was heard, and was not decided on yet.
    pub(super) tied_at: Option<Instant>,
    /// What the Active router announces if that is not what is configured here.
    pub(super) differing: Option<Vec<IpAddr>>,
    /// Numbers of the last proofs, by sender: as many as have the key.
    pub(super) proofs: BTreeMap<IpAddr, u64>,
    pub(super) n_sent: u64,
    pub(super) n_received: u64,
}

impl Member {
    pub(super) fn new(now: Instant, settings: Settings, network: &Network) -> Self {
        let mut member = Self {
            active_interval: settings.entry.advert_interval,
            down_at: now,
            settings,
            source: None,
            heard: None,
            spoken: None,
            tied_at: None,
            differing: None,
            proofs: BTreeMap::new(),
            n_sent: 0,
            n_received: 0,
        };
        member.look(network);
        member
    }

    /// Finds out which address to speak from.
    pub(super) fn look(&mut self, network: &Network) {
        let interface = network.get(&self.settings.key.interface);
        self.source = interface.and_then(|interface| self.settings.source(interface));
    }

    /// Why it cannot be Active; `None` if it can.
    pub(super) fn obstacle(&self, network: &Network) -> Option<String> {
        let name = &self.settings.key.interface;
        if !network.get(name).is_some_and(|interface| interface.is_running) {
            return Some(format!("interface {name} is down"));
        }
        if self.source.is_none() {
            let kind = if self.settings.key.is_ipv6 { "link-local IPv6" } else { "IPv4" };
            let wanted = self.settings.unicast_source().map(|source| source.to_string());
            let wanted = wanted.unwrap_or_else(|| format!("{kind} address of its own"));
            return Some(format!("interface {name} has no {wanted}"));
        }
        None
    }

    /// Believes a packet or tells why not.
    pub(super) fn receive(
        &mut self,
        packet: &Received,
        key: Option<&ProofKey>,
    ) -> Result<Advert, Reason> {
        let advert = Advert::parse(&packet.payload, packet.source, packet.destination)?;
        if self.source == Some(packet.source) {
            return Err(Reason::OwnAddress);
        }
        let peers: Vec<_> = self.settings.peers().collect();
        let (is_meant, least_hops) = if peers.is_empty() {
            (packet.destination == self.settings.multicast(), HOP_LIMIT)
        } else {
            (!packet.destination.is_multicast(), self.settings.entry.unicast_min_hop_limit)
        };
        if packet.hop_limit < least_hops {
            return Err(Reason::HopLimit);
        }
        if !is_meant {
            return Err(Reason::Destination);
        }
        if !peers.is_empty() && !peers.contains(&packet.source) {
            return Err(Reason::NotAPeer);
        }
        self.believe_proof(packet, key)?;
        self.n_received += 1;
        Ok(advert)
    }

    fn believe_proof(&mut self, packet: &Received, key: Option<&ProofKey>) -> Result<(), Reason> {
        let authentication = self.settings.entry.authentication;
        let Some(key) = key.filter(|_| authentication != VrrpAuthentication::Off) else {
            return Ok(());
        };
        let ends = (packet.source, packet.destination);
        match key.check(ends, &packet.payload, &packet.options) {
            Proved::Nothing if authentication == VrrpAuthentication::Require => {
                Err(Reason::NoProof)
            }
            Proved::Nothing => Ok(()),
            Proved::Wrong => Err(Reason::WrongProof),
            Proved::Number(number) => {
                let last = self.proofs.entry(packet.source).or_default();
                if number <= *last {
                    return Err(Reason::Repeated);
                }
                *last = number;
                Ok(())
            }
        }
    }

    /// The packets of an advertisement.
    pub(super) fn advertise(&mut self, priority: u8, prover: &mut Option<Prover>) -> Vec<Effect> {
        let Some(source) = self.source else { return Vec::new() };
        let Settings { key, entry, .. } = &self.settings;
        let (id, interval) = (key.id, entry.advert_interval);
        let advert = Advert { id, priority, interval, addresses: self.settings.hosts() };
        let mut destinations: Vec<_> = self.settings.peers().collect();
        if destinations.is_empty() {
            destinations.push(self.settings.multicast());
        }
        self.n_sent += 1;
        let mut prover =
            prover.as_mut().filter(|_| entry.authentication != VrrpAuthentication::Off);
        let send = |destination| {
            let payload = advert.encode(source, destination, entry.checksum_v4);
            let ends = (source, destination);
            let options = match &mut prover {
                Some(prover) => prover.prove(ends, &payload),
                None => Vec::new(),
            };
            let packet = packet::packet(source, destination, &options, &payload)?;
            let (interface, virtual_mac) = (key.interface.clone(), self.settings.virtual_mac());
            Some(Effect::Send { interface, virtual_mac, destination, packet })
        };
        destinations.into_iter().filter_map(send).collect()
    }

    /// The frames that tell where its addresses are.
    pub(super) fn announce(&self, network: &Network) -> Vec<Effect> {
        let interface = &self.settings.key.interface;
        let own = network.get(interface).and_then(|it| it.mac);
        let Some(mac) = self.settings.virtual_mac().or(own) else { return Vec::new() };
        let frame = |address| packet::announcement(mac, address);
        let hosts = self.settings.hosts().into_iter();
        hosts
            .map(|address| Effect::Announce { interface: interface.clone(), frame: frame(address) })
            .collect()
    }

    /// Takes over what the Active router announces, up to a limit: a single packet must not keep this director waiting
    /// for minutes.
    pub(super) fn adopt(&mut self, now: Instant, advert: &Advert, from: IpAddr) {
        let most = self.settings.entry.advert_interval * MOST_INTERVALS;
        self.active_interval = advert.interval.min(most);
        self.heard = Some(Heard { from, priority: advert.priority, at: now });
        let hosts = self.settings.hosts();
        let is_same = advert.addresses.len() == hosts.len()
            && advert.addresses.iter().all(|address| hosts.contains(address));
        self.differing = (!is_same).then(|| advert.addresses.clone());
    }

    /// `Active_Down_Timer` begins anew.
    pub(super) fn wait(&mut self, now: Instant, priority: u8) {
        self.down_at = now + down_interval(self.active_interval, priority);
    }

    /// Another router of the group hears that the Active one leaves. If it has the interface of this one no more,
    /// nothing tells so here: wait for its next advertisement and not for three of them.
    pub(super) fn wait_for_one_more(&mut self, now: Instant, priority: u8) {
        let skew = skew(self.active_interval, priority);
        if let Some(heard) = self.heard {
            let due = (heard.at + self.active_interval).max(now);
            self.down_at = self.down_at.min(due + skew);
        }
    }

    /// Back to what holds without any Active router in sight.
    pub(super) fn forget(&mut self, now: Instant, priority: u8) {
        self.active_interval = self.settings.entry.advert_interval;
        self.heard = None;
        self.tied_at = None;
        self.wait(now, priority);
    }
}

impl Settings {
    /// The virtual addresses without their prefix lengths.
    pub(super) fn hosts(&self) -> Vec<IpAddr> {
        self.addresses.iter().map(IpNet::addr).collect()
    }

    /// The places of its addresses.
    pub(super) fn places(&self) -> impl Iterator<Item = Place> {
        let addresses = self.addresses.iter();
        addresses.map(|address| Place { port: self.port(), address: *address })
    }

    fn port(&self) -> Port {
        if self.entry.virtual_mac {
            return Port::Virtual(self.key.clone());
        }
        Port::Interface(self.key.interface.clone())
    }

    /// The MAC address of its addresses and of its advertisements, if that is not the interface's.
    pub(super) fn virtual_mac(&self) -> Option<[u8; 6]> {
        self.entry.virtual_mac.then(|| self.key.mac())
    }

    /// The unicast peers of its family.
    pub(super) fn peers(&self) -> impl Iterator<Item = IpAddr> {
        of_family(&self.entry.unicast_peers, self.key.is_ipv6)
    }

    pub(super) fn unicast_source(&self) -> Option<IpAddr> {
        of_family(&self.entry.unicast_source, self.key.is_ipv6).next()
    }

    fn multicast(&self) -> IpAddr {
        if self.key.is_ipv6 { GROUP_V6.into() } else { GROUP_V4.into() }
    }

    /// RFC 9568 5.1.1.1 and 5.1.2.1: the primary IPv4 address, or a link-local one; the virtual addresses are no
    /// choice, unless the interface has no others, as with an owner.
    fn source(&self, interface: &Interface) -> Option<IpAddr> {
        let has = |address: &IpAddr| interface.addresses.iter().any(|net| net.addr() == *address);
        if let Some(source) = self.unicast_source() {
            return Some(source).filter(has);
        }
        let is_multicast = self.peers().next().is_none();
        let fits = |address: &IpAddr| match address {
            IpAddr::V4(_) => !self.key.is_ipv6,
            IpAddr::V6(v6) => self.key.is_ipv6 && (!is_multicast || v6.is_unicast_link_local()),
        };
        let all = || interface.addresses.iter().map(IpNet::addr).filter(fits);
        let hosts = self.hosts();
        let own = all().find(|address| !hosts.contains(address));
        own.or_else(|| all().next().filter(|_| self.entry.priority == u8::MAX))
    }
}

fn of_family(addresses: &[IpAddr], is_ipv6: bool) -> impl Iterator<Item = IpAddr> {
    addresses.iter().copied().filter(move |address| address.is_ipv6() == is_ipv6)
}

/// `Skew_Time` (RFC 9568 6.1).
pub(super) fn skew(interval: Duration, priority: u8) -> Duration {
    interval * (256 - u32::from(priority)) / 256
}

/// `Active_Down_Interval` (RFC 9568 6.1).
pub(super) fn down_interval(interval: Duration, priority: u8) -> Duration {
    interval * 3 + skew(interval, priority)
}
