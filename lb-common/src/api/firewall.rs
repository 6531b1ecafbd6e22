//! The firewall: its rules as they are written, its sets, and what they have met.

use serde::{Deserialize, Serialize};

/// A rule with the keys that it has in the configuration file; what is empty or missing is no condition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Its name.
    pub name: String,
    /// `accept` or `drop`.
    pub action: String,
    /// Prefixes and sets (`@name`) that hold the source address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub source: Vec<String>,
    /// Prefixes and sets that hold the destination address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub destination: Vec<String>,
    /// `tcp`, `udp`, `icmp`, `icmpv6` or a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// Source ports and ranges of them, `1024-65535`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sport: Vec<String>,
    /// Destination ports and ranges of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dport: Vec<String>,
    /// Flags that are set, and with a `!` those that are not: `syn,!ack`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_flags: Option<String>,
    /// Names or numbers of types of ICMP.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub icmp_type: Vec<String>,
    /// The interface that the packet came by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// The service that the packet is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// It matches only what is beyond this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<Over>,
}

/// What a rule lets go on before it matches, with the keys that it has in the configuration file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Over {
    /// How many in a second, a minute or an hour: `2000/s`, `10/m`, `5/h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<String>,
    /// How many at once, after a time without any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
    /// What counts: `packets` or `new_flows`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<String>,
    /// In the place of these: how many flows a source has open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flows: Option<u32>,
    /// `source`: each source by itself; without it the rule as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per: Option<String>,
    /// Leading bits by which sources of IPv4 are told apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix_v4: Option<u32>,
    /// Leading bits by which sources of IPv6 are told apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix_v6: Option<u32>,
}

/// A change to the rules at run time; kept in the overlay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "lowercase")]
pub enum RuleChange {
    /// Add a rule; an error if the name exists.
    Add {
        /// The rule.
        rule: Box<Rule>,
        /// Name of the rule that it is to stand before; the last place without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<String>,
    },
    /// Delete a rule.
    Delete {
        /// Its name.
        name: String,
    },
}

/// A change to the elements of a set at run time; kept in the overlay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetChange {
    /// The set.
    pub set: String,
    /// What to do.
    pub action: SetAction,
    /// Addresses and prefixes.
    pub elements: Vec<String>,
}

/// What to do with elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SetAction {
    /// Add them; those that are there stay.
    Add,
    /// Delete them; an error if one is not there.
    Delete,
}

/// The firewall as it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Firewall {
    /// `accept` or `drop`: what becomes of packets that match no rule.
    pub policy: String,
    /// What matched no rule and was dropped by the policy.
    pub policy_count: RuleCount,
    /// The rules, in the order in which they are looked at.
    pub rules: Vec<RuleStatus>,
    /// What the rules that name a set decided about; one that names two counts for both.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sets: Vec<SetCount>,
}

/// What the rules that name a set have met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetCount {
    /// The set's name.
    pub name: String,
    /// What they decided about.
    pub count: RuleCount,
}

/// A rule, and what it has met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleStatus {
    /// The rule.
    pub rule: Rule,
    /// Whether it was added at run time.
    pub overlay: bool,
    /// What it decided about.
    pub count: RuleCount,
}

/// Packets that were looked at because their flow was not known or the rules had changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleCount {
    /// Packets.
    pub packets: u64,
    /// Bytes, Ethernet header included.
    pub bytes: u64,
}

/// A set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Set {
    /// Its name.
    pub name: String,
    /// The file that it is read from; missing where the configuration lists the elements.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Whether its elements were loaded at run time in the place of those of the file.
    pub loaded: bool,
    /// Elements.
    pub elements: usize,
    /// Elements that were added at run time.
    pub added: usize,
    /// Elements that were deleted at run time.
    pub deleted: usize,
    /// Why its file, as it is now, was refused; the elements from before hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Some elements of a set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetElements {
    /// How many there are.
    pub total: usize,
    /// At most `limit` of them.
    pub elements: Vec<String>,
}
