//! What the API tells of single packets.

use std::collections::BTreeMap;
use std::net::IpAddr;

use lb_common::api::{DroppedPacket, Explanation};
use lb_common::layout::{self, Sample};
use lb_common::verdict::Verdict;

use crate::model::agent::Agent;
use crate::model::config::protocol_text;
use crate::model::firewall::{IpProtocol, POLICY};
use crate::model::tables::ListenerKey;

impl Agent {
    /// Names of rules by the numbers of their counters.
    pub fn rule_names(&self) -> BTreeMap<u32, &str> {
        let numbers = self.rule_numbers().by_name().iter();
        numbers.map(|(name, number)| (*number, name.as_str())).collect()
    }

    /// A packet that was dropped at this time; `None` where nothing is known of it.
    pub fn dropped(
        &self,
        sample: &Sample,
        rules: &BTreeMap<u32, &str>,
        interface: String,
        at_unix_ms: u64,
    ) -> Option<DroppedPacket> {
        let address = |words| layout::ip(words, sample.family);
        let port = |port: u16| (port != 0).then(|| u16::from_be(port));
        let (source, destination): (IpAddr, IpAddr) =
            (address(&sample.source)?, address(&sample.destination)?);
        Some(DroppedPacket {
            at_unix_ms,
            verdict: Verdict::from_number(sample.verdict)?.name().to_owned(),
            rule: rules.get(&sample.rule).map(|name| (*name).to_owned()),
            service: self.service_of(sample.listener),
            interface,
            protocol: protocol_text(IpProtocol(sample.protocol)),
            source,
            source_port: port(sample.source_port),
            destination,
            destination_port: port(sample.destination_port),
            length: sample.length,
        })
    }

    /// What would become of a packet; `None` where it cannot be told.
    pub fn explained(&self, sample: &Sample, interface: String) -> Option<Explanation> {
        let verdict = Verdict::from_number(sample.verdict)?;
        let policy = (sample.rule == POLICY).then(|| "(policy)".to_owned());
        let rule = self.rule_names().get(&sample.rule).map(|name| (*name).to_owned());
        let owner = self.owners().remove(&sample.backend);
        let of_backend = owner.as_ref().and_then(|owner| owner.service.clone());
        Some(Explanation {
            verdict: verdict.name().to_owned(),
            kind: verdict.kind().name().to_owned(),
            help: verdict.help().to_owned(),
            interface,
            rule: rule.or(policy),
            service: self.service_of(sample.listener).or(of_backend),
            backend: owner.and_then(|owner| owner.backend),
        })
    }

    /// The service that a listener is of.
    fn service_of(&self, listener: u32) -> Option<String> {
        let key = ListenerKey::of_listener(self.installed().listeners.get(&listener)?)?;
        let services = self.config().services.iter();
        let mut services = services.filter(|service| service.keys().any(|other| other == key));
        services.next().map(|service| service.name.clone())
    }
}
