//! What the packet path, the daemon and the command line agree on, written once.
//!
//! `layout` and `cell` describe the bytes in the kernel's maps, `verdict` names what can happen to a
//! packet, `api` and `config_file` (feature `api`) hold the types of the HTTP API and
//! read what is sent over it. There is no logic of either side
//! here, and nothing allocates unless the `api` feature is on.
#![cfg_attr(not(any(test, feature = "api")), no_std)]
#![expect(clippy::inline_always, reason = "the packet path has no call that costs nothing")]

#[cfg(feature = "api")]
pub mod api;
pub mod bench;
pub mod cell;
#[cfg(feature = "api")]
pub mod config_file;
pub mod decap;
pub mod filter;
pub mod layout;
pub mod verdict;

/// Version of the layout of all maps. Of maps of the version before, an agent moves the flows to maps of its own; it
/// never reads those of any other.
///
/// Raise it with every change to `layout` or `cell` that moves or reinterprets a byte, and see that what is pinned
/// can be taken over ([`cell::before`]).
pub const LAYOUT_VERSION: u32 = if cfg!(feature = "layout-before") { 6 } else { 7 };

/// Most listeners (VIP, port and protocol) that the maps hold.
pub const MAX_LISTENERS: u32 = 32_768;

/// Most backend ids; a backend takes one for each listener that it serves.
pub const MAX_BACKENDS: u32 = 262_144;

/// Most slots, over all listeners; each takes one for every turn in its rotation.
pub const MAX_SLOTS: u32 = 4_194_304;

/// Most sources that are remembered, over all listeners; the oldest are forgotten for new ones.
pub const MAX_AFFINITIES: u32 = 262_144;

/// Buckets of the flow table that share a mark.
pub const BUCKETS_PER_MARK: u32 = 64;

/// Marks; in a table of more than 33 million flows several runs of buckets share one. A power of two.
pub const MAX_MARKS: u32 = 262_144;

/// Places for interfaces to attach to; a power of two.
pub const INTERFACE_PLACES: u32 = 4_096;

/// Most VIP addresses of one family.
pub const MAX_VIPS: u32 = 16_384;

/// Most packets in fragments whose way is remembered at a time; the least recent ones are forgotten first.
pub const MAX_FRAGMENTED: u32 = 8_192;

/// Bytes of the ring buffer of dropped packets.
pub const DROPS_BYTES: u32 = 1 << 18;

/// Names of the maps as the object declares them and as they are pinned.
pub mod map {
    /// One [`Settings`](crate::layout::Settings).
    pub const SETTINGS: &str = "SETTINGS";
    /// IPv4 listeners: [`ListenerKeyV4`](crate::layout::ListenerKeyV4) to listener id.
    pub const LISTENERS_V4: &str = "LISTENERS_V4";
    /// IPv6 listeners: [`ListenerKeyV6`](crate::layout::ListenerKeyV6) to listener id.
    pub const LISTENERS_V6: &str = "LISTENERS_V6";
    /// IPv4 VIPs: address in network order to [`Vip`](crate::layout::Vip).
    pub const VIPS_V4: &str = "VIPS_V4";
    /// IPv6 VIPs: address in network order to [`Vip`](crate::layout::Vip).
    pub const VIPS_V6: &str = "VIPS_V6";
    /// [`Listener`](crate::layout::Listener) by listener id; memory-mappable.
    pub const LISTENERS: &str = "LISTENERS";
    /// [`Slot`](crate::layout::Slot); each listener points to a run of them; memory-mappable.
    pub const SLOTS: &str = "SLOTS";
    /// [`Backend`](crate::layout::Backend) by backend id.
    pub const BACKENDS: &str = "BACKENDS";
    /// [`Load`](crate::layout::Load) by backend id; memory-mappable.
    pub const LOADS: &str = "LOADS";
    /// [`AffinityKey`](crate::layout::AffinityKey) to [`Affinity`](crate::layout::Affinity).
    pub const AFFINITIES: &str = "AFFINITIES";
    /// [`Cursor`](crate::layout::Cursor) by cursor id.
    pub const CURSORS: &str = "CURSORS";
    /// [`Guard`](crate::layout::guard::Guard) by listener id; memory-mappable.
    pub const GUARDS: &str = "GUARDS";
    /// Buckets of the flow table; memory-mappable.
    pub const FLOWS: &str = "FLOWS";
    /// [`Detail`](crate::layout::Detail) by cell index; memory-mappable.
    pub const DETAILS: &str = "DETAILS";
    /// A word for each run of buckets, not zero where a cell has changed that peers are to know of;
    /// memory-mappable.
    pub const MARKS: &str = "MARKS";
    /// Buckets of the other flow table while flows move from it or to it.
    pub const OTHER_FLOWS: &str = "OTHER_FLOWS";
    /// Details of that table.
    pub const OTHER_DETAILS: &str = "OTHER_DETAILS";
    /// Words of the [`filter`](crate::filter).
    pub const FILTER: &str = "FILTER";
    /// Attached [`Interface`](crate::layout::Interface)s, each in one of its places; memory-mappable.
    pub const INTERFACES: &str = "INTERFACES";
    /// Per CPU [`Count`](crate::layout::Count) by verdict number.
    pub const VERDICTS: &str = "VERDICTS";
    /// Per CPU [`Traffic`](crate::layout::Traffic) by listener id.
    pub const LISTENER_TRAFFIC: &str = "LISTENER_TRAFFIC";
    /// Per CPU [`Traffic`](crate::layout::Traffic) by backend id.
    pub const BACKEND_TRAFFIC: &str = "BACKEND_TRAFFIC";

    /// [`FragmentWay`](crate::layout::FragmentWay) by [`FragmentKey`](crate::layout::FragmentKey).
    pub const FRAGMENTS: &str = "FRAGMENTS";
    /// Per CPU, how often a source of full NAT was tried; not pinned.
    pub const SOURCES_DRAWN: &str = "SOURCES_DRAWN";
    /// Per CPU, errors that may still be sent, and when some were last given in milliseconds; not pinned.
    pub const REPORTS: &str = "REPORTS";

    /// One [`Firewall`](crate::layout::firewall::Firewall).
    pub const FIREWALL: &str = "FIREWALL";
    /// Pages of [`root`](crate::layout::firewall::root)s by half, family and the first eight bits of an address.
    pub const FIREWALL_ROOTS: &str = "FIREWALL_ROOTS";
    /// Words of bits by half, family and the first 24 bits of an address, see
    /// [`BIT_WORDS`](crate::layout::firewall::BIT_WORDS), and as a third plane those of
    /// [`alone_mark`](crate::layout::firewall::alone_mark).
    pub const FIREWALL_BITS: &str = "FIREWALL_BITS";
    /// [`Front`](crate::layout::firewall::Front)s by half and chunk.
    pub const FIREWALL_FRONTS: &str = "FIREWALL_FRONTS";
    /// Pages of values by half and chunk, one for each value of the third byte of an address.
    pub const FIREWALL_VALUES: &str = "FIREWALL_VALUES";
    /// Buckets of [cells](crate::layout::firewall::cell_key) by half and hash.
    pub const FIREWALL_CELLS: &str = "FIREWALL_CELLS";
    /// [`Node`](crate::layout::firewall::Node)s by half and value.
    pub const FIREWALL_NODES: &str = "FIREWALL_NODES";
    /// [`LongBucket`](crate::layout::firewall::LongBucket)s by half and hash.
    pub const FIREWALL_LONG: &str = "FIREWALL_LONG";
    /// [`Row`](crate::layout::firewall::Row)s by half; twice the class of a source, one more for a destination.
    pub const FIREWALL_ROWS: &str = "FIREWALL_ROWS";
    /// Pages of rows by half, direction (source first) and the port's higher byte.
    pub const FIREWALL_PORTS: &str = "FIREWALL_PORTS";
    /// Pages of rows by half and kind.
    pub const FIREWALL_KINDS: &str = "FIREWALL_KINDS";
    /// Pages of [`service`](crate::layout::firewall::service) words by half and listener id.
    pub const FIREWALL_SERVICES: &str = "FIREWALL_SERVICES";
    /// Row by [`LinkKey`](crate::layout::firewall::LinkKey).
    pub const FIREWALL_LINKS: &str = "FIREWALL_LINKS";
    /// A word for each rule, by half.
    pub const FIREWALL_RULES: &str = "FIREWALL_RULES";
    /// Words of bits of ports by half, see [`ASKED_WORDS`](crate::layout::firewall::ASKED_WORDS).
    pub const FIREWALL_ASKED: &str = "FIREWALL_ASKED";
    /// Pages of outcomes by half and [`outcome_place`](crate::layout::firewall::outcome_place).
    pub const FIREWALL_OUTCOMES: &str = "FIREWALL_OUTCOMES";
    /// [`Limit`](crate::layout::limit::Limit)s of rules, by half.
    pub const FIREWALL_LIMITS: &str = "FIREWALL_LIMITS";
    /// What limits have let go on: words of rules, then buckets of sources; memory-mappable.
    pub const FIREWALL_LIMITED: &str = "FIREWALL_LIMITED";
    /// How many flows sources have open: buckets, and [`SOURCE_MASKS`](crate::layout::limit::SOURCE_MASKS);
    /// memory-mappable.
    pub const SOURCE_FLOWS: &str = "SOURCE_FLOWS";
    /// Per CPU [`Count`](crate::layout::Count) by number of the counter.
    pub const RULE_COUNTS: &str = "RULE_COUNTS";

    /// In the array of programs: the second one.
    pub const STAGE_SECOND: u32 = 0;
    /// In the array of programs: that of the firewall.
    pub const STAGE_FIREWALL: u32 = 1;
    /// In the array of programs: that of SYN cookies.
    pub const STAGE_COOKIES: u32 = 2;

    /// A ring buffer of [`Sample`](crate::layout::Sample)s of dropped packets.
    pub const DROPS: &str = "DROPS";
    /// Until when dropped packets are sampled: nanoseconds of the monotonic clock.
    pub const SAMPLE_UNTIL: &str = "SAMPLE_UNTIL";
    /// Per CPU, the [`Sample`](crate::layout::Sample) of the packet that was explained; not pinned.
    pub const EXPLAINED: &str = "EXPLAINED";
    /// Until when packets of TCP connections that only another director may know are held: nanoseconds of the
    /// monotonic clock; memory-mappable.
    pub const HELD_UNTIL: &str = "HELD_UNTIL";
    /// The constant that makes a program explain packets, and change nothing.
    pub const EXPLAINS: &str = "EXPLAINS";

    /// The array of the program that stands in for two: the one of the layout before, and the new one.
    pub const HANDOVER: &str = "HANDOVER";
    /// The constant that says of what layout the other flow table is.
    pub const OTHER_IS_BEFORE: &str = "OTHER_IS_BEFORE";

    /// Those that another size of the firewall needs anew.
    pub const FIREWALLS: [&str; 17] = [
        FIREWALL,
        FIREWALL_BITS,
        FIREWALL_ROOTS,
        FIREWALL_FRONTS,
        FIREWALL_VALUES,
        FIREWALL_CELLS,
        FIREWALL_NODES,
        FIREWALL_LONG,
        FIREWALL_ROWS,
        FIREWALL_PORTS,
        FIREWALL_KINDS,
        FIREWALL_SERVICES,
        FIREWALL_LINKS,
        FIREWALL_RULES,
        FIREWALL_ASKED,
        FIREWALL_OUTCOMES,
        FIREWALL_LIMITS,
    ];

    /// Those that another size of the flow table needs anew.
    pub const SIZED: [&str; 3] = [DETAILS, FLOWS, SETTINGS];

    /// Every map that is pinned under its name.
    pub const ALL: [&str; 44] = [
        SETTINGS,
        LISTENERS_V4,
        LISTENERS_V6,
        VIPS_V4,
        VIPS_V6,
        LISTENERS,
        SLOTS,
        BACKENDS,
        LOADS,
        AFFINITIES,
        CURSORS,
        GUARDS,
        FLOWS,
        DETAILS,
        MARKS,
        FILTER,
        INTERFACES,
        FRAGMENTS,
        VERDICTS,
        LISTENER_TRAFFIC,
        BACKEND_TRAFFIC,
        RULE_COUNTS,
        DROPS,
        SAMPLE_UNTIL,
        HELD_UNTIL,
        FIREWALL,
        FIREWALL_BITS,
        FIREWALL_ROOTS,
        FIREWALL_FRONTS,
        FIREWALL_VALUES,
        FIREWALL_CELLS,
        FIREWALL_NODES,
        FIREWALL_LONG,
        FIREWALL_ROWS,
        FIREWALL_PORTS,
        FIREWALL_KINDS,
        FIREWALL_SERVICES,
        FIREWALL_LINKS,
        FIREWALL_RULES,
        FIREWALL_ASKED,
        FIREWALL_OUTCOMES,
        FIREWALL_LIMITS,
        FIREWALL_LIMITED,
        SOURCE_FLOWS,
    ];
}
