//! `[[vrrp]]`: virtual routers.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use toml::de::DeValue;

use super::address::unusable;
use super::duration::duration;
use super::problem::Fault;
use super::reader::{Located, Table};
use super::value::{
    Parsed, boolean, choice, integer, interface, ip_address, name, path, signed, string,
};

mod across;
mod setting;

pub(super) use setting::settings;

/// What an advertisement's interval field can say: whole hundredths of a second in 12 bits.
const SHORTEST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_millis(40_950);
const LONGEST_DELAY: Duration = Duration::from_hours(1);
/// RFC 9568 5.2.4: the default of a router that does not own the addresses.
const PRIORITY: u32 = 100;
const INTERVAL: Duration = Duration::from_secs(1);
const HOP_LIMIT: u32 = 255;
/// RFC 9568 5.2.8.
const CHECKSUM: VrrpChecksum = VrrpChecksum::PseudoHeader;
const AUTHENTICATION: VrrpAuthentication = VrrpAuthentication::Off;

/// `[[vrrp]]`
#[derive(Clone, Debug, PartialEq)]
pub struct Vrrp {
    /// Its name.
    pub name: String,
    /// Those of the same group take over and stand down together.
    pub group: Option<String>,
    /// Where its addresses are.
    pub interface: String,
    /// Virtual router id, 1 to 255.
    pub virtual_router_id: u8,
    /// 1 to 255; 255: this director owns the addresses.
    pub priority: u8,
    /// From one advertisement to the next, in steps of 10 ms.
    pub advert_interval: Duration,
    /// Whether an Active router of lower priority is relieved.
    pub preempt: bool,
    /// For how long it is left alone before; `None`: no time.
    pub preempt_delay: Option<Duration>,
    /// The virtual addresses, at least one.
    pub addresses: Vec<IpNet>,
    /// Whether its addresses have the virtual router's MAC address rather than the interface's.
    pub virtual_mac: bool,
    /// Whether the host answers at its addresses, on other ports than those of services.
    pub accept: bool,
    /// A script that is told of changes.
    pub notify: Option<PathBuf>,
    /// Where advertisements come from, at most one address per family.
    pub unicast_source: Vec<IpAddr>,
    /// To whom they are sent; empty: multicast.
    pub unicast_peers: Vec<IpAddr>,
    /// The least TTL or hop limit with which a peer's advertisement may come.
    pub unicast_min_hop_limit: u8,
    /// The form of checksum that is sent with IPv4.
    pub checksum_v4: VrrpChecksum,
    /// Whether advertisements prove that they come from a director with the key of `[sync]`.
    pub authentication: VrrpAuthentication,
    /// Interfaces that must be up.
    pub track_interfaces: Vec<String>,
    /// Services that should be alive.
    pub track_services: Vec<TrackedService>,
}

/// What an IPv4 advertisement's checksum covers. Both forms are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VrrpChecksum {
    /// The pseudo-header too.
    PseudoHeader,
    /// The advertisement alone.
    Plain,
}

/// Whether advertisements carry proofs of the key of `[sync]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VrrpAuthentication {
    /// No.
    Off,
    /// They do, and those that others send must be right; who sends none is believed.
    Send,
    /// They do, and nothing without one is believed.
    Require,
}

/// A service that a virtual router depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackedService {
    /// Name of the service.
    pub service: String,
    /// What its death adds to the priority; `None`: the router is Active only if no other is.
    pub weight: Option<i32>,
}

impl Vrrp {
    /// The group, or the router by itself.
    pub fn group_name(&self) -> String {
        self.group.clone().unwrap_or_else(|| self.name.clone())
    }
}

/// A router as far as it is valid.
struct Draft {
    name: Option<Located<String>>,
    interface: Option<Located<String>>,
    id: Option<Located<u32>>,
    virtual_mac: Option<Located<bool>>,
    services: Vec<Located<String>>,
    /// Where it begins.
    span: super::problem::Span,
    whole: Option<Vrrp>,
}

/// Reads all of them. `None`: one is wrong. `has_key`: there is a key for proofs.
pub(super) fn read(root: &mut Table<'_>, services: &[&str], has_key: bool) -> Option<Vec<Vrrp>> {
    let report = root.report;
    let sections = root.sections("vrrp", "[[vrrp]]").into_iter();
    let drafts: Vec<_> = sections.map(|section| draft(section, has_key)).collect();
    across::check(report, &drafts, services);
    drafts.into_iter().map(|draft| draft.whole).collect()
}

fn draft(mut table: Table<'_>, has_key: bool) -> Draft {
    let span = table.span.clone();
    let name = table.required("name", "\"vip-a\"", name);
    let group = table.optional("group", super::value::name);
    let interface = table.required("interface", "\"eth0\"", interface);
    let id = table.required("virtual_router_id", "51", integer(1..=255));
    let addresses = table.required_list("addresses", "[\"203.0.113.10/32\"]", virtual_address);
    few_enough(&table, &addresses.items);
    let election = election(&mut table);
    let virtual_mac = table.or("virtual_mac", false, boolean);
    let accept = table.or("accept", true, boolean);
    let notify = table.optional("notify", path);
    let unicast = unicast(&mut table);
    let authentication = table.or("authentication", AUTHENTICATION, choice(&[]));
    across::key(table.report, authentication.as_ref(), has_key);
    let track_interfaces = table.list("track_interfaces", "[\"eth1\"]", super::value::interface);
    let tracked = tracked_services(&mut table);
    table.finish(&[]);
    let services = tracked.iter().flatten().map(|(name, _)| name.clone()).collect();
    let build = || {
        let (priority, advert_interval, preempt, preempt_delay) = election?;
        let (unicast_source, unicast_peers, unicast_min_hop_limit, checksum_v4) = unicast?;
        Some(Vrrp {
            name: name.as_ref()?.value.clone(),
            group: group?.map(|group| group.value),
            interface: interface.as_ref()?.value.clone(),
            virtual_router_id: u8::try_from(id.as_ref()?.value).ok()?,
            priority,
            advert_interval,
            preempt,
            preempt_delay,
            addresses: addresses.whole.then(|| values(addresses.items))?,
            virtual_mac: virtual_mac.as_ref()?.value,
            accept: accept?.value,
            notify: notify?.map(|notify| notify.value),
            unicast_source,
            unicast_peers,
            unicast_min_hop_limit,
            checksum_v4,
            authentication: authentication?.value,
            track_interfaces: track_interfaces.map_or(Vec::new(), |list| values(list.items)),
            track_services: tracked?.into_iter().map(|(_, tracked)| tracked).collect(),
        })
    };
    let whole = build();
    Draft { name, interface, id, virtual_mac, services, span, whole }
}

/// RFC 9568 5.2.5 counts them in eight bits, and an advertisement has to fit into an Ethernet frame.
fn few_enough(table: &Table<'_>, addresses: &[Located<IpNet>]) {
    for (is_ipv4, family, most) in [(true, "IPv4", 255), (false, "IPv6", 89)] {
        let of_family = |net: &&Located<IpNet>| net.value.addr().is_ipv4() == is_ipv4;
        if let Some(surplus) = addresses.iter().filter(of_family).nth(most) {
            let message =
                format!("more than {most} {family} addresses do not fit into an advertisement");
            let help = "make it two virtual routers of one group";
            table.report.add(Fault::new(message, help).at(&surplus.span));
        }
    }
}

fn values<T>(items: Vec<Located<T>>) -> Vec<T> {
    items.into_iter().map(|item| item.value).collect()
}

fn election(table: &mut Table<'_>) -> Option<(u8, Duration, bool, Option<Duration>)> {
    let priority = table.or("priority", PRIORITY, integer(1..=255));
    let interval = table.or("advert_interval", INTERVAL, advert_interval);
    let preempt = table.or("preempt", false, boolean);
    let delay = table.optional("preempt_delay", duration(Duration::ZERO..=LONGEST_DELAY));
    let priority = u8::try_from(priority?.value).ok()?;
    Some((priority, interval?.value, preempt?.value, delay?.map(|delay| delay.value)))
}

type Unicast = (Vec<IpAddr>, Vec<IpAddr>, u8, VrrpChecksum);

fn unicast(table: &mut Table<'_>) -> Option<Unicast> {
    let source = table.list("unicast_source", "[\"192.0.2.1\"]", host);
    let peers = table.list("unicast_peers", "[\"192.0.2.2\"]", host);
    let hops = table.or("unicast_min_hop_limit", HOP_LIMIT, integer(1..=HOP_LIMIT));
    let checksum = table.or("checksum_v4", CHECKSUM, choice(&[]));
    let source = source.map_or(Vec::new(), |list| list.items);
    let peers = peers.map_or(Vec::new(), |list| list.items);
    across::sources(table.report, &source, &peers);
    let hops = u8::try_from(hops?.value).ok()?;
    Some((values(source), values(peers), hops, checksum?.value))
}

fn tracked_services(table: &mut Table<'_>) -> Option<Vec<(Located<String>, TrackedService)>> {
    let Some(value) = table.raw("track_services") else { return Some(Vec::new()) };
    let DeValue::Array(items) = value.get_ref() else {
        let example = "[{ service = \"shop\", weight = -60 }]";
        let fault = Fault::new("expected a list of tables", format!("write it as in {example}"));
        table.report.add(fault.at(&value.span()));
        return None;
    };
    let read = |item| {
        let mut item = table.of("track_services = [{ … }]", item)?;
        let service = item.required("service", "\"shop\"", name);
        let weight = item.optional("weight", signed(-253..=-1));
        item.finish(&[]);
        let (service, weight) = (service?, weight?.map(|weight| weight.value));
        let tracked = TrackedService { service: service.value.clone(), weight };
        Some((service, tracked))
    };
    items.iter().map(read).collect()
}

fn advert_interval(value: &DeValue<'_>) -> Parsed<Duration> {
    let found = duration(SHORTEST..=LONGEST)(value)?;
    if found.as_millis().is_multiple_of(10) {
        return Ok(found);
    }
    let message = "an interval is sent in whole hundredths of a second";
    Err(Fault::new(message, "give a multiple of 10ms"))
}

fn host(value: &DeValue<'_>) -> Parsed<IpAddr> {
    let address = ip_address(value, "\"192.0.2.1\"")?;
    usable(address)?;
    Ok(address)
}

fn virtual_address(value: &DeValue<'_>) -> Parsed<IpNet> {
    let text = string(value, "\"203.0.113.10/32\"")?;
    let address = text.parse::<IpAddr>().map(IpNet::from);
    let net = address.or_else(|_| text.parse::<IpNet>()).map_err(|_| {
        let message = format!("{text:?} is neither an IP address nor one with a prefix length");
        Fault::new(message, "write it as in \"203.0.113.10/32\"")
    })?;
    usable(net.addr())?;
    Ok(net)
}

fn usable(address: IpAddr) -> Parsed<()> {
    let Some(kind) = unusable(address) else { return Ok(()) };
    Err(Fault::new(format!("{address} is {kind}"), "give a unicast address"))
}
