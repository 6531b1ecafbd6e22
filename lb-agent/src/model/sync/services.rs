//! What directors compare of their configurations: connections go on at another one only where both have the service
//! alike.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use super::reader::{Reader, put_socket, put_text};
use super::wire::Wrong;
use crate::model::config::{Service, Word};
use crate::model::tables::ListenerKey;

/// Where a service listens, and what it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Where.
    pub listener: ListenerKey,
    /// What.
    pub terms: Terms,
}

/// What a service is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How it forwards, as the file says it.
    pub forward: String,
    /// How it chooses a backend, likewise.
    pub scheduler: String,
    /// A digest of its backends' addresses, in no order.
    pub backends: u64,
}

/// All services of a director.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Services(BTreeMap<ListenerKey, Terms>);

impl Services {
    /// Those of a configuration.
    pub fn of(services: &[Service]) -> Self {
        let offers = services.iter().flat_map(|service| {
            let terms = Terms::of(service);
            service.keys().map(move |listener| (listener, terms.clone()))
        });
        Self(offers.collect())
    }

    /// Takes note of some more.
    pub(super) fn extend(&mut self, offers: Vec<Offer>) {
        self.0.extend(offers.into_iter().map(|offer| (offer.listener, offer.terms)));
    }

    /// Each by itself.
    pub(super) fn offers(&self) -> Vec<Offer> {
        let offer = |(listener, terms): (&ListenerKey, &Terms)| Offer {
            listener: *listener,
            terms: terms.clone(),
        };
        self.0.iter().map(offer).collect()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// In what those of another director differ, a sentence each.
    pub fn differences(&self, theirs: &Self) -> Vec<String> {
        let all: BTreeSet<_> = self.0.keys().chain(theirs.0.keys()).collect();
        let difference = |key: &ListenerKey| match (self.0.get(key), theirs.0.get(key)) {
            (Some(_), None) => Some("it is configured here alone".to_owned()),
            (None, Some(_)) => Some("it is configured there alone".to_owned()),
            (Some(own), Some(other)) => own.difference(other),
            (None, None) => None,
        };
        let named = |key: &ListenerKey| {
            let (address, protocol) = (key.address, key.protocol.word());
            difference(key).map(|difference| format!("{address} ({protocol}): {difference}"))
        };
        all.into_iter().filter_map(named).collect()
    }
}

impl Terms {
    fn of(service: &Service) -> Self {
        let backends = service.backends.iter().flat_map(|backend| &backend.address);
        let mut bytes = Vec::new();
        for address in backends.collect::<BTreeSet<_>>() {
            put_socket(*address, &mut bytes);
        }
        let digest = Sha256::digest(&bytes);
        let first = digest.iter().take(size_of::<u64>());
        Self {
            forward: service.forward.word().to_owned(),
            scheduler: service.scheduler.word().to_owned(),
            backends: first.fold(0, |word, byte| word << 8 | u64::from(*byte)),
        }
    }

    fn difference(&self, other: &Self) -> Option<String> {
        let word = |key: &str, own: &str, other: &str| {
            (own != other).then(|| format!("{key} is {own} here and {other} there"))
        };
        let differences = [
            word("forward", &self.forward, &other.forward),
            word("scheduler", &self.scheduler, &other.scheduler),
            (self.backends != other.backends).then(|| "its backends differ".to_owned()),
        ];
        let all: Vec<_> = differences.into_iter().flatten().collect();
        (!all.is_empty()).then(|| all.join(", "))
    }
}

impl Offer {
    pub(super) fn encode(&self, bytes: &mut Vec<u8>) {
        put_socket(self.listener.address, bytes);
        bytes.push(self.listener.protocol_number());
        put_text(&self.terms.forward, bytes);
        put_text(&self.terms.scheduler, bytes);
        bytes.extend_from_slice(&self.terms.backends.to_be_bytes());
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Wrong> {
        let (address, protocol) = (reader.socket()?, reader.u8()?);
        let listener = ListenerKey::new(address, protocol).ok_or(Wrong)?;
        let (forward, scheduler) = (reader.text()?, reader.text()?);
        Ok(Self { listener, terms: Terms { forward, scheduler, backends: reader.u64()? } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::config::parse;
    use crate::model::sync::{Listening, Message};

    const VIP: &str = "203.0.113.10";

    fn service(port: u16, terms: &str, hosts: &[u8]) -> String {
        let backend = |host| {
            format!("[[service.backend]]\nname = \"{host}\"\naddress = \"192.0.2.{host}:80\"\n")
        };
        let backends: String = hosts.iter().map(backend).collect();
        let name = format!("s{port}");
        format!("[[service]]\nname = \"{name}\"\nlisten = \"{VIP}:{port}\"\n{terms}\n{backends}")
    }

    fn services(tables: &[String]) -> Services {
        let text = format!("version = 1\n[datapath]\ninterfaces = [\"eth0\"]\n{}", tables.concat());
        Services::of(&parse("lb.toml", &text, "lb1").unwrap().config.services)
    }

    #[test]
    fn services_are_the_same_whatever_the_order_of_their_backends_and_their_weights() {
        let one = services(&[service(80, "scheduler = \"wrr\"", &[1, 2])]);
        let mut other = service(80, "scheduler = \"wrr\"", &[2, 1]);
        other += "weight = 7\n";
        assert_eq!(one, services(&[other]));
    }

    #[test]
    fn what_differs_is_named_and_nothing_else() {
        let here = services(&[
            service(80, "scheduler = \"rr\"\nforward = \"nat\"", &[1, 2]),
            service(81, "", &[1]),
            service(82, "", &[1]),
            service(83, "", &[1]),
        ]);
        let there = services(&[
            service(80, "scheduler = \"maglev\"\nforward = \"dsr\"", &[1, 2]),
            service(81, "", &[1]),
            service(82, "", &[1, 2]),
            service(84, "", &[1]),
        ]);
        let expected = [
            "203.0.113.10:80 (tcp): forward is nat here and dsr there, scheduler is rr here and maglev there",
            "203.0.113.10:82 (tcp): its backends differ",
            "203.0.113.10:83 (tcp): it is configured here alone",
            "203.0.113.10:84 (tcp): it is configured there alone",
        ];
        assert_eq!(here.differences(&there), expected);
        assert_eq!(here.differences(&here), Vec::<String>::new());
    }

    #[test]
    fn a_listener_compares_all_that_a_peer_tells_in_however_many_messages_and_forgets_what_was_before()
     {
        let many: Vec<_> = (1..2_000).map(|port| service(port, "", &[1])).collect();
        let (few, many) = (services(&many[..1]), services(&many));
        let mut listening = Listening::default();
        listening.learn([], Vec::new(), &many);
        for (told, n_differences) in [(&many, 0), (&few, 1_998), (&many, 0)] {
            for message in Message::services(told) {
                listening.take(message).unwrap();
            }
            assert_eq!(listening.n_differences(), n_differences);
            assert_eq!(listening.differences().len(), n_differences.min(16));
        }
    }
}
