//! Two to five directors on one virtual clock and a network that loses, delays, repeats and parts.
//!
//! Whatever has happened: once the network is whole and nobody sleeps, there is one Active director after the time
//! in which three advertisements are sent, and then always.

use std::cell::Cell;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Longest delay of a packet, in milliseconds; less than half an interval.
const LONGEST_DELAY: u64 = 40;
const INTERVAL: u64 = 100;

/// What befalls the directors, in this order.
#[derive(Clone, Debug)]
enum Trouble {
    /// All is well for some milliseconds.
    Calm(u64),
    /// Packets are lost with this probability in percent, for some milliseconds.
    Loss(u8, u64),
    /// Directors whose bit is set hear only each other, for some milliseconds.
    Split(u8, u64),
    /// A director does not run for some milliseconds.
    Sleep(usize, u64),
    /// An agent is killed and started anew.
    Restart(usize),
    /// An agent stops in good order and is started anew after some milliseconds.
    Stop(usize, u64),
    /// An operator has a director let go.
    Release(usize),
}

fn trouble() -> impl Strategy<Value = Trouble> {
    let millis = || 1..2_000_u64;
    prop_oneof![
        millis().prop_map(Trouble::Calm),
        (1..100_u8, millis()).prop_map(|(share, time)| Trouble::Loss(share, time)),
        (any::<u8>(), millis()).prop_map(|(side, time)| Trouble::Split(side, time)),
        (0..5_usize, millis()).prop_map(|(who, time)| Trouble::Sleep(who, time)),
        (0..5_usize).prop_map(Trouble::Restart),
        (0..5_usize, millis()).prop_map(|(who, time)| Trouble::Stop(who, time)),
        (0..5_usize).prop_map(Trouble::Release),
    ]
}

/// A director of the world.
struct Director {
    routers: Routers,
    entry: Vrrp,
    number: u8,
    sleeps_until: Instant,
    /// Not running at all until then.
    gone_until: Option<Instant>,
    has_addresses: bool,
}

impl Director {
    fn addresses(&self) -> [String; 2] {
        // In IPv6 they are in the reverse order.
        [format!("192.0.2.{}", self.number + 1), format!("fe80::{}", 9 - self.number)]
    }

    fn is_running(&self, now: Instant) -> bool {
        self.gone_until.is_none() && self.sleeps_until <= now
    }
}

/// A packet under way.
struct Flying {
    at: Instant,
    to: usize,
    packet: Received,
}

struct Net {
    now: Instant,
    directors: Vec<Director>,
    flying: Vec<Flying>,
    loss: u8,
    side: u8,
    dice: u64,
    /// Whether packets may overtake each other.
    is_in_order: bool,
}

impl Net {
    fn new(entries: Vec<Vrrp>, dice: u64) -> Self {
        let now = start();
        let director = |(number, entry): (u8, Vrrp)| Director {
            routers: Routers::default(),
            entry,
            number,
            sleeps_until: now,
            gone_until: None,
            has_addresses: false,
        };
        let directors = (0..).zip(entries).map(director).collect();
        let mut net =
            Self { now, directors, flying: Vec::new(), loss: 0, side: 0, dice, is_in_order: false };
        (0..net.directors.len()).for_each(|who| net.boot(who));
        net
    }

    /// A number below `end` (a linear congruential generator: what is random is chosen by the test's seed).
    fn roll(&mut self, end: u64) -> u64 {
        self.dice = self
            .dice
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.dice >> 33) % end
    }

    fn boot(&mut self, who: usize) {
        let director = &mut self.directors[who];
        director.routers = Routers::default();
        director.gone_until = None;
        director.has_addresses = false;
        let mut network = network(&["eth0"]);
        let own = director.addresses().map(|address| address.parse::<IpAddr>().unwrap().into());
        network.get_mut("eth0").unwrap().addresses = own.to_vec();
        let routers = vec![director.entry.clone()];
        self.event(who, Event::Network(network));
        self.event(who, Event::Configure { routers, dead_services: BTreeSet::new() });
    }

    fn event(&mut self, who: usize, event: Event) {
        let effects = self.directors[who].routers.handle(self.now, event);
        self.carry_out(who, effects);
    }

    fn carry_out(&mut self, who: usize, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send { packet, destination, .. } => self.send(who, &packet, destination),
                Effect::Addresses(places) => self.directors[who].has_addresses = !places.is_empty(),
                Effect::Hold
                | Effect::Accept(_)
                | Effect::Announce { .. }
                | Effect::Changed(_)
                | Effect::Warning(_) => {}
            }
        }
    }

    fn send(&mut self, from: usize, packet: &[u8], destination: IpAddr) {
        let [v4, v6] = self.directors[from].addresses();
        let (source, header) = if destination.is_ipv4() { (v4, 20) } else { (v6, 40) };
        let packet = Received {
            interface: "eth0".to_owned(),
            source: source.parse().unwrap(),
            destination,
            hop_limit: 255,
            options: Vec::new(),
            payload: packet[header..].to_vec(),
        };
        for to in (0..self.directors.len()).filter(|to| *to != from) {
            let is_apart = (self.side >> from ^ self.side >> to) & 1 == 1;
            let is_lost = self.roll(100) < self.loss.into();
            if is_apart || is_lost {
                continue;
            }
            // One in ten comes twice.
            for _ in 0..=u64::from(self.roll(10) == 0) {
                let mut at = self.now + Duration::from_millis(self.roll(LONGEST_DELAY + 1));
                if self.is_in_order {
                    at = self.flying.iter().map(|it| it.at).chain([at]).max().unwrap();
                }
                self.flying.push(Flying { at, to, packet: packet.clone() });
            }
        }
    }

    /// Lets time pass, a millisecond at a time; `check` looks at each.
    fn run(&mut self, millis: u64, check: impl Fn(&Self)) {
        for _ in 0..millis {
            self.now += Duration::from_millis(1);
            for who in 0..self.directors.len() {
                self.step(who);
            }
            check(self);
        }
    }

    fn step(&mut self, who: usize) {
        let director = &self.directors[who];
        if director.gone_until.is_some_and(|until| until <= self.now && director.routers.is_done())
        {
            self.boot(who);
        }
        let is_stopping = self.directors[who].gone_until.is_some();
        if !is_stopping && !self.directors[who].is_running(self.now) {
            return;
        }
        // A director that wakes up first hears everything that has come, and then looks at its clock.
        let now = self.now;
        let (arrived, flying): (Vec<_>, Vec<_>) =
            self.flying.drain(..).partition(|it| it.to == who && it.at <= now);
        self.flying = flying;
        for it in arrived {
            self.event(who, Event::Received(it.packet));
        }
        if self.directors[who].routers.deadline().is_some_and(|at| at <= now) {
            self.event(who, Event::Timer);
        }
    }

    fn suffer(&mut self, trouble: &Trouble) {
        let n = self.directors.len();
        match *trouble {
            Trouble::Calm(time) => self.run(time, |_| ()),
            Trouble::Loss(share, time) => {
                self.loss = share;
                self.run(time, |_| ());
                self.loss = 0;
            }
            Trouble::Split(side, time) => {
                self.side = side;
                self.run(time, |_| ());
                self.side = 0;
            }
            Trouble::Sleep(who, time) => {
                self.directors[who % n].sleeps_until = self.now + Duration::from_millis(time);
            }
            Trouble::Restart(who) => self.boot(who % n),
            Trouble::Stop(who, time) => {
                self.directors[who % n].gone_until = Some(self.now + Duration::from_millis(time));
                self.event(who % n, Event::Stop);
            }
            Trouble::Release(who) => {
                let now = self.now;
                if let Ok(effects) = self.directors[who % n].routers.release(now, "a") {
                    self.carry_out(who % n, effects);
                }
            }
        }
    }

    /// Everybody is awake and there, and hears everybody.
    fn heal(&mut self) {
        let longest = Duration::from_secs(2);
        let end = self.now + longest;
        while self.now < end && !self.directors.iter().all(|it| it.is_running(self.now)) {
            self.run(1, |_| ());
        }
        assert!(self.directors.iter().all(|it| it.is_running(self.now)));
    }

    fn active(&self) -> Vec<u8> {
        let active = |it: &&Director| it.routers.active().next().is_some();
        self.directors.iter().filter(active).map(|it| it.number).collect()
    }
}

fn entries() -> impl Strategy<Value = Vec<Vrrp>> {
    // Equal priorities are as good as any others.
    let priority = prop_oneof![Just(100_u8), Just(200_u8), 1..=254_u8];
    (vec((priority, any::<bool>()), 2..=5), any::<bool>()).prop_map(|(directors, has_both)| {
        let entry = |(priority, preempt)| {
            let advert_interval = Duration::from_millis(INTERVAL);
            let both = crate::model::cast::router("a", 51);
            let base = if has_both { both } else { router("a", 51) };
            Vrrp { priority, advert_interval, preempt, ..base }
        };
        directors.into_iter().map(entry).collect()
    })
}

/// From whole to one Active: the longest wait for an Active router is three of its intervals, one of skew and one
/// of delay; who takes over then may still be beaten, which takes three advertisements.
const SETTLES_WITHIN: u64 = 4 * INTERVAL + LONGEST_DELAY + 3 * (INTERVAL + LONGEST_DELAY);

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn there_is_one_active_director_once_the_network_is_whole(
        entries in entries(),
        troubles in vec(trouble(), 0..12),
        dice in any::<u64>(),
    ) {
        let mut net = Net::new(entries, dice);
        for trouble in &troubles {
            net.suffer(trouble);
        }
        net.heal();
        net.run(SETTLES_WITHIN, |_| ());
        let settled = net.active();
        prop_assert_eq!(settled.len(), 1, "{:?}", troubles);
        // And so it stays, unless a director that preempts relieves another one, in good order: both are Active only
        // while the first advertisement is under way.
        let n_double = Cell::new(0);
        net.run(20 * INTERVAL, |net| {
            let n_active = net.active().len();
            n_double.set(if n_active == 1 { 0 } else { n_double.get() + 1 });
            assert!((1..=2).contains(&n_active) && n_double.get() <= LONGEST_DELAY, "{n_active}");
        });
        prop_assert_eq!(net.active().len(), 1);
        let stays = net.active();
        net.run(20 * INTERVAL, |net| assert_eq!(net.active(), stays));
    }

    #[test]
    fn somebody_has_the_addresses_all_the_time_while_nobody_dies(
        entries in entries(),
        stops in vec((0..5_usize, 1_000..2_000_u64, any::<bool>()), 1..4),
        is_alone in any::<bool>(),
        dice in any::<u64>(),
    ) {
        let mut entries = entries;
        if is_alone {
            entries.truncate(1);
        }
        let mut net = Net::new(entries, dice);
        net.is_in_order = true;
        net.run(SETTLES_WITHIN + 20 * INTERVAL, |_| ());
        for (who, time, is_released) in stops {
            // Whoever is alone only lets go; a clean stop needs another one.
            if is_released || is_alone {
                net.suffer(&Trouble::Release(who));
            } else {
                net.suffer(&Trouble::Stop(who, time));
            }
            // The addresses are never nobody's.
            net.run(time + 20 * INTERVAL, |net| {
                assert!(net.directors.iter().any(|it| it.has_addresses), "nobody has them");
            });
        }
    }
}
