//! What a listener makes of the messages of one connection.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ipnet::IpNet;
use lb_common::layout::Backend;
use lb_ebpf::adopt::{Holder, Told};

use super::news::ticks;
use super::record::Record;
use super::server::Server;
use super::services::Services;
use super::wire::{Interface, Message, Wrong};

/// Most numbers of servers that a peer may name: as many as there are backend ids.
const MAX_SERVERS: usize = 262_144;
/// Most unknown servers that are named to the operator.
const MAX_NAMED: usize = 16;

/// What is to be done after a message.
#[derive(Clone, Debug)]
pub enum Taken {
    /// Nothing.
    Nothing,
    /// These cells are to be taken in.
    Flows(Vec<Told>),
    /// An answer.
    Answer(Message),
}

/// One connection, at the end that listens.
#[derive(Debug, Default)]
pub struct Listening {
    /// Name of the peer.
    pub node: Option<String>,
    /// Which run of its agent speaks.
    pub run: u64,
    /// Whether the peer has told every cell.
    pub is_whole: bool,
    /// Cells of servers that are not known here.
    pub unknown_flows: u64,
    servers: HashMap<u32, Server>,
    /// Backend ids here by the peer's numbers.
    ids: HashMap<u32, (u32, u8)>,
    unknown: BTreeSet<Server>,
    /// Interfaces here by the peer's numbers.
    interfaces: HashMap<u32, u32>,
    theirs: Vec<Interface>,
    backends: BTreeMap<Server, (u32, u8)>,
    /// The interfaces here and their networks.
    own: Vec<(u32, Vec<IpNet>)>,
    /// Services here and there.
    services: [Services; 2],
    /// In what they differ.
    differences: Vec<String>,
}

impl Listening {
    /// Takes note of the backends, the interfaces and the services here. Says whether a server is known now that was not, so
    /// that its flows are to be told again.
    pub fn learn<'b>(
        &mut self,
        backends: impl IntoIterator<Item = (&'b u32, &'b Backend)>,
        interfaces: Vec<(u32, Vec<IpNet>)>,
        services: &Services,
    ) -> bool {
        let [own, _] = &mut self.services;
        own.clone_from(services);
        self.compare();
        let known = backends
            .into_iter()
            .filter_map(|(id, backend)| Some((Server::of(backend)?, (*id, backend.protocol))));
        self.backends = known.collect();
        self.own = interfaces;
        self.match_interfaces();
        let before = std::mem::take(&mut self.unknown);
        self.match_servers();
        let is_again = before.iter().any(|server| self.backends.contains_key(server));
        if is_again {
            self.is_whole = false;
        }
        is_again
    }

    /// Servers of the peer that are not known here, the first few.
    pub fn unknown(&self) -> Vec<Server> {
        self.unknown.iter().take(MAX_NAMED).copied().collect()
    }

    /// How many there are.
    pub fn n_unknown(&self) -> usize {
        self.unknown.len()
    }

    /// In what the configurations differ, the first few.
    pub fn differences(&self) -> &[String] {
        self.differences.get(..MAX_NAMED).unwrap_or(&self.differences)
    }

    /// How many differences there are.
    pub fn n_differences(&self) -> usize {
        self.differences.len()
    }

    fn compare(&mut self) {
        let [own, theirs] = &self.services;
        self.differences = own.differences(theirs);
    }

    /// What a message asks for.
    pub fn take(&mut self, message: Message) -> Result<Taken, Wrong> {
        match message {
            Message::Hello { run, node } => (self.run, self.node) = (run, Some(node)),
            Message::Servers { is_first, servers } => {
                if is_first {
                    self.servers.clear();
                }
                self.servers.extend(servers);
                if self.servers.len() > MAX_SERVERS {
                    return Err(Wrong);
                }
                self.match_servers();
            }
            Message::Services { is_first, offers } => {
                let [_, theirs] = &mut self.services;
                if is_first {
                    *theirs = Services::default();
                }
                theirs.extend(offers);
                if theirs.len() > MAX_SERVERS {
                    return Err(Wrong);
                }
                self.compare();
            }
            Message::Interfaces(theirs) => {
                self.theirs = theirs;
                self.match_interfaces();
            }
            Message::Flows(records) => return Ok(Taken::Flows(self.told(&records))),
            Message::Mark { number, is_whole } => {
                self.is_whole = is_whole;
                return Ok(Taken::Answer(Message::Seen { number }));
            }
            // What only a listener says.
            Message::Seen { .. } | Message::Again => return Err(Wrong),
        }
        Ok(Taken::Nothing)
    }

    fn match_interfaces(&mut self) {
        let mine = |networks: &[IpNet]| {
            let shares = |own: &[IpNet]| own.iter().any(|network| networks.contains(network));
            self.own.iter().find(|(_, own)| shares(own)).map(|(index, _)| *index)
        };
        let found = self
            .theirs
            .iter()
            .filter_map(|interface| Some((interface.number.into(), mine(&interface.networks)?)));
        self.interfaces = found.collect();
    }

    fn match_servers(&mut self) {
        self.ids.clear();
        self.unknown.clear();
        for (number, server) in &self.servers {
            match self.backends.get(server) {
                Some(found) => drop(self.ids.insert(*number, *found)),
                None => drop(self.unknown.insert(*server)),
            }
        }
    }

    fn told(&mut self, records: &[Record]) -> Vec<Told> {
        let mut all = Vec::with_capacity(records.len());
        for record in records {
            let Some((backend, protocol)) = self.ids.get(&record.backend).copied() else {
                self.unknown_flows += 1;
                continue;
            };
            let mut detail = record.detail;
            detail.protocol = protocol;
            // Zero is no interface: the client's next packet tells the way back to it.
            detail.hop_interface =
                self.interfaces.get(&detail.hop_interface).copied().unwrap_or_default();
            all.push(Told {
                backend,
                state: record.state,
                is_reply: record.is_reply,
                is_translated: record.is_translated,
                holder: Holder::Unknown,
                idle_ticks: ticks(record.idle_seconds),
                detail,
            });
        }
        all
    }
}
