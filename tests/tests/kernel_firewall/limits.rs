//! Limits of rules in the model: who has taken how many tokens, and who has how many flows open.
//!
//! A token takes minutes to come back, so that none does while the packets of one firewall are sent.

use std::collections::BTreeMap;
use std::net::IpAddr;

use aya::maps::{Array, MapData};
use ipnet::IpNet;
use lb_agent::model::firewall::compile::Compiled;
use lb_agent::model::firewall::{Counted, Over, OverRate, Per, Rate, Rule, Unit};
use lb_common::cell::{Cell, State};
use lb_common::layout::limit::{RULE_BUCKETS, SOURCE_BUCKETS};
use lb_common::layout::{Bucket, Detail, address};
use lb_ebpf::firewall::open::{change, hash};
use lb_ebpf::host::HostTables;
use lb_ebpf::v4::V4;
use lb_ebpf::v6::V6;
use zerocopy::FromZeros;

use crate::model::{Content, Packet};
use crate::packet_path::PacketPath;
use crate::packet_path::frames::{ACK, FIN, RST, SYN};
use crate::random::Random;
use crate::rules::{prefix, within};

/// Most rules with a limit of a firewall. One may take two places, of which there are 32.
const MOST: usize = 8;

/// What has been taken since a firewall is in force, and what was open before.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Tokens, by rule, and by source where each has some of its own.
    taken: BTreeMap<(String, Option<IpNet>), u32>,
    /// The source of each open flow.
    open: Vec<IpAddr>,
    /// By kind of limit: packets that were below one, and beyond.
    pub asked: BTreeMap<&'static str, [usize; 2]>,
}

impl Ledger {
    /// Another firewall is in force: nothing has been taken, and these sources have a flow open for each time that
    /// they are there.
    pub fn begin(&mut self, open: Vec<IpAddr>) {
        self.taken.clear();
        self.open = open;
    }

    /// Whether a packet that is all else that a rule asks for is beyond the rule's limit, if it has one.
    pub fn exceeds(&mut self, rule: &Rule, packet: &Packet) -> bool {
        let Some(over) = rule.over else { return true };
        let counts = match over {
            Over::Rate(OverRate { count: Counted::Packets, .. }) => true,
            Over::Rate(OverRate { count: Counted::NewFlows, .. }) => begins(packet.content),
            Over::Flows { .. } => packet.service.is_some() && opens(packet.content),
        };
        let exceeds = counts
            && match over {
                Over::Rate(rate) => !self.takes(rule, &rate, packet.source),
                Over::Flows { most, per } => self.n_open(per, packet.source) >= most,
            };
        self.asked.entry(kind(over)).or_default()[usize::from(exceeds)] += usize::from(counts);
        exceeds
    }

    fn takes(&mut self, rule: &Rule, rate: &OverRate, source: IpAddr) -> bool {
        let whose = (rule.name.clone(), rate.per.map(|per| source_of(per, source)));
        let taken = self.taken.entry(whose).or_default();
        let is_left = *taken < rate.burst;
        *taken += u32::from(is_left);
        is_left
    }

    fn n_open(&self, per: Per, source: IpAddr) -> u32 {
        let source = source_of(per, source);
        let open = self.open.iter().filter(|other| source_of(per, **other) == source);
        u32::try_from(open.count()).unwrap()
    }
}

/// All sources that one address stands for.
fn source_of(per: Per, address: IpAddr) -> IpNet {
    let bits = if address.is_ipv4() { per.prefix_v4 } else { per.prefix_v6 };
    IpNet::new(address, bits).unwrap().trunc()
}

/// Whether a packet begins a flow, as far as that can be told of it.
fn begins(content: Content) -> bool {
    match content {
        Content::Tcp { flags, .. } => flags & (SYN | ACK | RST) == SYN,
        Content::Udp { .. } | Content::Icmp { .. } | Content::Other => true,
        Content::Later => false,
    }
}

/// Whether a packet of no known flow opens one of a service.
fn opens(content: Content) -> bool {
    match content {
        Content::Tcp { flags, .. } => flags & (FIN | RST) == 0,
        Content::Udp { .. } => true,
        Content::Icmp { .. } | Content::Other | Content::Later => false,
    }
}

fn kind(over: Over) -> &'static str {
    match over {
        Over::Flows { .. } => "open flows of a source",
        Over::Rate(OverRate { count: Counted::Packets, per: None, .. }) => "packets",
        Over::Rate(OverRate { count: Counted::Packets, per: Some(_), .. }) => "packets of a source",
        Over::Rate(OverRate { count: Counted::NewFlows, per: None, .. }) => "new flows",
        Over::Rate(OverRate { count: Counted::NewFlows, per: Some(_), .. }) => {
            "new flows of a source"
        }
    }
}

/// Gives some of the rules limits.
pub fn limit(random: &mut Random, rules: &mut [Rule]) {
    // All rules that ask about open flows tell sources apart alike.
    let of_flows = per(random);
    for _ in 0..1 + random.below(MOST) {
        // Those that come first are asked most.
        let number = random.below(rules.len().min(MOST));
        let rule = &mut rules[number];
        if random.chance(60) {
            let Rule { name, action, sources, protocol, .. } = rule.clone();
            *rule = Rule { name, sources, protocol, ..Rule::any(action) };
        }
        rule.over = Some(over(random, of_flows));
    }
}

fn over(random: &mut Random, of_flows: Per) -> Over {
    if random.chance(40) {
        let most = u32::try_from(1 + random.below(4)).unwrap();
        return Over::Flows { most, per: of_flows };
    }
    let amount = u32::try_from(1 + random.below(30)).unwrap();
    Over::Rate(OverRate {
        rate: Rate { amount, unit: Unit::Hour },
        burst: u32::try_from(1 + random.below(60)).unwrap().min(2 * amount),
        count: [Counted::Packets, Counted::NewFlows][random.below(2)],
        per: random.chance(60).then(|| per(random)),
    })
}

fn per(random: &mut Random) -> Per {
    Per {
        prefix_v4: random.pick(&[1, 8, 16, 23, 24, 31, 32]),
        prefix_v6: random.pick(&[1, 16, 31, 32, 33, 48, 64, 65, 127, 128]),
    }
}

/// Sources of open flows, some of them of several.
pub fn open_flows(random: &mut Random) -> Vec<IpAddr> {
    let source = |random: &mut Random| {
        let prefix = prefix(random);
        vec![within(random, prefix); 1 + random.below(4)]
    };
    (0..20).flat_map(|_| source(random)).collect()
}

/// Has all sources of the kernel's maps have all tokens, and these flows.
pub fn begin_in_the_kernel(
    path: &PacketPath,
    limited: &mut Array<MapData, Bucket>,
    open: &[IpAddr],
) {
    for bucket in 0..RULE_BUCKETS + SOURCE_BUCKETS {
        limited.set(bucket, [0; 8], 0).unwrap();
    }
    let key = path.settings.get(&0, 0).unwrap().hash_key;
    let mut count = path.firewall.open_flows().begin();
    for source in open {
        let flow = Cell::new(1, 0, 0, State::Established, false);
        let (client, family) = address(*source);
        count.add(&key, flow, || Some(Detail { client, family, ..Detail::new_zeroed() }));
    }
    path.firewall.open_flows().settle(count);
}

/// The same on the host, whose maps are new.
pub fn begin_on_the_host(host: &HostTables, compiled: &Compiled, open: &[IpAddr]) {
    let (key, masks) = (host.settings.hash_key, compiled.head.source_masks);
    for source in open.iter().filter(|_| masks[0] != 0) {
        let words = address(*source).0;
        let hash = match source {
            IpAddr::V4(_) => hash::<V4>(&key, masks, words[0]),
            IpAddr::V6(_) => hash::<V6>(&key, masks, words),
        };
        change(host, hash, true);
    }
}
