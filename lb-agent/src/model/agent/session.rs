//! The connection by which somebody changes the firewall, and whether the change would cut it.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::Deserialize;

use super::Agent;
use super::guard::names;
use super::state::Running;
use crate::model::config::{Config, Protocol, Service};
use crate::model::firewall::compile::{Names, builtins};
use crate::model::firewall::{Action, Firewall, Rule, Sets, TcpPacket, are_in, deciding};
use crate::model::overlay::merge;
use crate::model::overlay::sets::{self, Stock};

/// A connection to this host, as `SSH_CONNECTION` tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Session {
    /// Where it comes from.
    pub client: SocketAddr,
    /// Where it goes to.
    pub host: SocketAddr,
}

/// `198.51.100.7 50022 192.0.2.1 22`: both addresses with their ports, the client's first.
impl FromStr for Session {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let [client, client_port, host, port] =
            text.split_whitespace().collect::<Vec<_>>().try_into().map_err(|_words| WRONG)?;
        let at = |address: &str, port: &str| {
            let address: IpAddr = address.parse().map_err(|_| WRONG)?;
            let port: u16 = port.parse().map_err(|_| WRONG)?;
            Ok::<_, Self::Err>(SocketAddr::new(address, port))
        };
        Ok(Self { client: at(client, client_port)?, host: at(host, port)? })
    }
}

const WRONG: &str = "a session is written as SSH_CONNECTION is: client, its port, host, its port";

impl TryFrom<String> for Session {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// Flags of the first packet of a connection and of the later ones.
const PACKETS: [u8; 2] = [0b0000_0010, 0b0001_0000];

/// What decides about a packet.
enum Decision<'r> {
    Rule(&'r Rule),
    Policy,
    Allow(&'r str),
}

impl Agent {
    /// That a configuration, with the changes made at run time over it, would cut a session; `read` are the files of
    /// its sets.
    pub fn cut_by(&self, file: &Config, read: &Stock, session: Session) -> Option<String> {
        let mut merged = merge(file, &self.running.overlay);
        let overlay = &mut merged.overlay.firewall;
        let mut stock = read.clone();
        let loaded = self.running.stock.iter().filter(|(set, _)| overlay.is_loaded(set));
        stock.extend(loaded.map(|(set, elements)| (set.clone(), elements.clone())));
        let sets = sets::lay(&merged.config.firewall, &stock, overlay);
        let names = names(&merged.config, &BTreeMap::new(), &self.host);
        cut(&merged.config, &sets, &names, session)
    }

    /// The same for what is to run.
    pub(super) fn cuts(&self, next: &Running, session: Session) -> Option<String> {
        let names = names(&next.config, &BTreeMap::new(), &self.host);
        cut(&next.config, &next.sets, &names, session)
    }
}

/// What would drop the session's packets by any of the interfaces, for it is not known which they take.
fn cut(config: &Config, sets: &Sets, names: &Names, session: Session) -> Option<String> {
    let Config { firewall, datapath, services, .. } = config;
    let mut rules = builtins(firewall, names);
    rules.extend(firewall.rules.iter().cloned());
    let Session { client, host } = session;
    let service = services
        .iter()
        .find(|service| service.protocol == Protocol::Tcp && service.listen.contains(&host));
    let of_interface = |interface: &str, flags: u8| {
        let packet = TcpPacket {
            source: (client.ip(), client.port()),
            destination: (host.ip(), host.port()),
            flags,
            interface,
            service: service.map(|service| service.name.as_str()),
        };
        decision(&rules, sets, service, packet).dropped_by(firewall)
    };
    let each = datapath.interfaces.iter();
    let mut all = each.flat_map(|name| PACKETS.map(|flags| (name, flags)));
    let what = all.find_map(|(name, flags)| of_interface(name, flags))?;
    Some(format!(
        "your own connection from {client} to {host} will be cut: {what} drops its packets; `lb-ctl config apply \
         --confirm 60s` takes back what is not confirmed"
    ))
}

fn decision<'r>(
    rules: &'r [Rule],
    sets: &Sets,
    service: Option<&'r Service>,
    packet: TcpPacket<'_>,
) -> Decision<'r> {
    if let Some(service) = service
        && !service.allow.is_empty()
        && !are_in(&service.allow, sets, packet.source.0)
    {
        return Decision::Allow(&service.name);
    }
    deciding(rules, sets, packet).map_or(Decision::Policy, Decision::Rule)
}

impl Decision<'_> {
    /// What drops the packet, if it is dropped.
    fn dropped_by(self, firewall: &Firewall) -> Option<String> {
        match self {
            Self::Rule(rule) => match rule.action {
                Action::Accept => None,
                Action::Drop => Some(format!("rule {}", rule.name)),
            },
            Self::Policy => match firewall.policy {
                Action::Accept => None,
                Action::Drop => Some("the policy".to_owned()),
            },
            Self::Allow(service) => Some(format!("the allow list of service {service}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::cast;
    use crate::model::firewall::Match;

    fn session(client: &str) -> Session {
        format!("{client} 50022 203.0.113.2 22").parse().unwrap()
    }

    /// What becomes of a session from an address with these rules, on a host without protected ports.
    fn cut_with(change: impl FnOnce(&mut Config), client: &str) -> Option<String> {
        let mut config = cast::config(vec![cast::shop(1)]);
        config.firewall.protect_ports.clear();
        change(&mut config);
        let host = vec![IpAddr::from([203, 0, 113, 2])];
        cut(&config, &Sets::new(), &Names { host, ..Names::default() }, session(client))
    }

    fn ssh_from(prefix: &str, action: Action) -> Rule {
        let sources = vec![Match::Prefix(prefix.parse().unwrap())];
        Rule { name: "ssh".into(), sources, dports: vec![22..=22], ..Rule::any(action) }
    }

    #[test]
    fn a_session_reads_as_ssh_tells_it() {
        let session: Session = "2001:db8::7 50022 2001:db8::2 22".parse().unwrap();
        assert_eq!(session.client.to_string(), "[2001:db8::7]:50022");
        assert_eq!(session.host.port(), 22);
        for wrong in ["", "198.51.100.7 50022 203.0.113.2", "a b c d", "10.0.0.1 1 10.0.0.2 65536"]
        {
            assert!(wrong.parse::<Session>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_cuts_a_session_is_named() {
        let drops = |config: &mut Config| {
            config.firewall.rules = vec![ssh_from("198.51.100.0/24", Action::Drop)];
        };
        let warning = cut_with(drops, "198.51.100.7").unwrap();
        assert!(warning.starts_with("your own connection from 198.51.100.7:50022"), "{warning}");
        assert!(warning.contains("will be cut: rule ssh drops its packets"), "{warning}");
        assert_eq!(cut_with(drops, "198.51.101.7"), None);
        let closed = |config: &mut Config| {
            config.firewall.policy = Action::Drop;
            config.firewall.rules = vec![ssh_from("198.51.100.0/24", Action::Accept)];
        };
        assert_eq!(cut_with(closed, "198.51.100.7"), None);
        assert!(cut_with(closed, "192.0.2.7").unwrap().contains("the policy drops"));
    }

    #[test]
    fn a_protected_port_is_not_cut() {
        let closed = |config: &mut Config| {
            config.firewall.policy = Action::Drop;
            config.firewall.protect_ports = vec![22];
        };
        assert_eq!(cut_with(closed, "192.0.2.7"), None);
    }

    #[test]
    fn a_later_packet_of_the_session_counts_too() {
        let only_first = |config: &mut Config| {
            let flags = crate::model::firewall::TcpFlags { mask: 0b1_0000, value: 0b1_0000 };
            config.firewall.rules =
                vec![Rule { tcp_flags: Some(flags), ..Rule::any(Action::Drop) }];
        };
        assert!(cut_with(only_first, "192.0.2.7").is_some());
    }

    #[test]
    fn a_service_may_not_be_for_the_one_who_came_by_it() {
        let listed = |config: &mut Config| {
            config.services[0].listen = vec!["203.0.113.2:22".parse().unwrap()];
            config.services[0].allow = vec![Match::Prefix("192.0.2.0/24".parse().unwrap())];
        };
        assert!(
            cut_with(listed, "198.51.100.7").unwrap().contains("the allow list of service shop")
        );
        assert_eq!(cut_with(listed, "192.0.2.7"), None);
    }
}
