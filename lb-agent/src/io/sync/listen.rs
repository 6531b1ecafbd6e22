//! The threads that listen to peers, and take in what they tell.

use std::mem::take;
use std::net::{IpAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use lb_ebpf::adopt::{Adopted, Holder, Told};

use super::networks::networks;
use super::sealed::{self, Broken, Receiver, Sender};
use super::shared::{Directory, LinkState, Peer, Shared};
use crate::io::clock;
use crate::io::vital::Vital;
use crate::model::sync::{Listening, Message, Server, Taken};
use crate::model::tables::ListenerKey;

/// Connections of a peer that may be in their handshake at once.
const MOST_UNPROVED: usize = 4;

/// Takes connections for as long as the process lives.
pub(super) fn run(shared: &Arc<Shared>, listener: &TcpListener) {
    loop {
        match listener.accept() {
            Ok((stream, from)) => meet(shared, stream, from.ip()),
            Err(error) => {
                tracing::warn!(%error, "accept a connection of another director");
                thread::park_timeout(Duration::from_secs(1));
            }
        }
    }
}

/// Listens to whoever is a peer.
fn meet(shared: &Arc<Shared>, stream: TcpStream, from: IpAddr) {
    let found = shared.peers.iter().position(|peer| peer.address.ip() == from.to_canonical());
    let Some(index) = found else { return shared.count(&Broken::Stranger) };
    let shared = Arc::clone(shared);
    let listen = move || {
        if let Some(peer) = shared.peers.get(index) {
            listen(&shared, peer, stream);
        }
    };
    let spawned = thread::Builder::new().name("sync-listen".into()).spawn(|| Vital::run(listen));
    if let Err(error) = spawned {
        tracing::warn!(%error, "start a thread that listens to the director at {from}");
    }
}

/// Listens to a connection until it ends, or a later one takes its place.
fn listen(shared: &Shared, peer: &Peer, stream: TcpStream) {
    let is_one_of_few = peer.n_unproved.fetch_add(1, Ordering::Relaxed) < MOST_UNPROVED;
    let proved = if is_one_of_few { Some(prove(shared, stream)) } else { None };
    peer.n_unproved.fetch_sub(1, Ordering::Relaxed);
    match proved {
        None => {}
        Some(Err(broken)) => {
            shared.count(&broken);
            // Whoever has no key says nothing about a connection that has one.
            if !peer.heard.state().is_connected {
                peer.heard.ended(Some(broken.to_string()));
            }
        }
        Some(Ok((sender, receiver, hello))) => {
            let number = peer.heard_by.fetch_add(1, Ordering::Relaxed) + 1;
            peer.is_there();
            let ended = Listener::new(shared, peer, sender, number).hear(receiver, hello);
            if let Err(broken) = ended {
                shared.count(&broken);
                tracing::warn!("the director at {} is not heard: {broken}", peer.address.ip());
                peer.heard.ended(Some(broken.to_string()));
            }
        }
    }
}

/// Whoever can send a first message has the key, and is not somebody who repeats what he has recorded.
fn prove(shared: &Shared, stream: TcpStream) -> Result<(Sender, Receiver, Message), Broken> {
    let (mut sender, mut receiver) = sealed::accept(stream, &shared.key)?;
    let (hello, _) = receiver.receive()?;
    sender.send(&shared.hello)?;
    Ok((sender, receiver, hello))
}

/// One connection.
struct Listener<'a> {
    shared: &'a Shared,
    peer: &'a Peer,
    sender: Sender,
    number: u64,
    listening: Listening,
    directory: Arc<Directory>,
    /// Whether cells were not taken in since the flow table was being given another size.
    has_missed: bool,
}

impl<'a> Listener<'a> {
    fn new(shared: &'a Shared, peer: &'a Peer, sender: Sender, number: u64) -> Self {
        let (directory, listening) = (shared.directory(), Listening::default());
        Self { shared, peer, sender, number, listening, directory, has_missed: false }
    }

    fn hear(mut self, mut receiver: Receiver, hello: Message) -> Result<(), Broken> {
        self.learn();
        self.take(hello)?;
        tracing::info!("the director at {} is heard", self.peer.address.ip());
        loop {
            let next = receiver.receive();
            if self.peer.heard_by.load(Ordering::Relaxed) != self.number {
                self.sender.end();
                return Ok(());
            }
            let (message, bytes) = next?;
            self.peer.heard.count(0, bytes);
            self.follow()?;
            self.take(message)?;
        }
    }

    /// Goes by what the loop has told since.
    fn follow(&mut self) -> Result<(), Broken> {
        let directory = self.shared.directory();
        if Arc::ptr_eq(&directory, &self.directory) {
            return Ok(());
        }
        self.directory = directory;
        if self.learn() { self.sender.send(&Message::Again).map(drop) } else { Ok(()) }
    }

    fn learn(&mut self) -> bool {
        let networks = networks(&self.shared.interfaces);
        let Directory { backends, services, .. } = &*self.directory;
        self.listening.learn(backends, networks, services)
    }

    fn take(&mut self, message: Message) -> Result<(), Broken> {
        match self.listening.take(message).map_err(|_| Broken::Message)? {
            Taken::Nothing => {}
            Taken::Flows(told) => self.adopt(told)?,
            Taken::Answer(answer) => {
                self.sender.send(&answer)?;
                self.catch_up()?;
                self.note();
            }
        }
        Ok(())
    }

    fn adopt(&mut self, mut told: Vec<Told>) -> Result<(), Broken> {
        let (vips, backends) = (self.shared.vips(), &self.directory.backends);
        for told in &mut told {
            let listener = backends.get(&told.backend).and_then(ListenerKey::of_backend);
            told.holder = listener.map_or(Holder::Unknown, |it| vips.holder(it.address.ip()));
        }
        let (shadow, heard) = (self.peer.shadow_of(self.listening.run), &self.peer.heard);
        heard.count(told.len(), 0);
        let has_missed = &mut self.has_missed;
        self.directory.table.adopt(told, clock::tick(), |adopted| match adopted {
            Adopted::At(index, cell) => {
                let place = usize::try_from(index).ok().and_then(|index| shadow.get(index));
                if let Some(place) = place {
                    place.store(cell.0, Ordering::Relaxed);
                }
            }
            Adopted::Newer => drop(heard.conflicts.fetch_add(1, Ordering::Relaxed)),
            Adopted::NoPlace => drop(heard.no_place.fetch_add(1, Ordering::Relaxed)),
            Adopted::Void => {}
            Adopted::NotNow => *has_missed = true,
        })?;
        Ok(())
    }

    /// Asks for what was missed, when it can be taken in.
    fn catch_up(&mut self) -> Result<(), Broken> {
        if self.has_missed && self.directory.table.settings()?.other_mask == 0 {
            self.has_missed = false;
            self.sender.send(&Message::Again)?;
        }
        Ok(())
    }

    fn note(&mut self) {
        let listening = &mut self.listening;
        let unknown_flows = take(&mut listening.unknown_flows);
        self.peer.heard.unknown.fetch_add(unknown_flows, Ordering::Relaxed);
        let unknown: Vec<_> = listening.unknown().iter().map(Server::to_string).collect();
        self.peer.heard.update(|state| {
            if state.n_unknown != listening.n_unknown() && !unknown.is_empty() {
                let (n, first) = (listening.n_unknown(), unknown.join(", "));
                tracing::warn!("{n} backends of the other director are not known here: {first}");
            }
            if state.differences != listening.differences() && listening.n_differences() > 0 {
                let (n, first) = (listening.n_differences(), listening.differences().join("; "));
                tracing::warn!(
                    "the other director's configuration differs in {n} services: {first}"
                );
            }
            *state = LinkState {
                is_connected: true,
                is_whole: listening.is_whole && !self.has_missed,
                lag: Duration::ZERO,
                at: Some(clock::now()),
                ended_at: None,
                node: listening.node.clone(),
                problem: None,
                n_unknown: listening.n_unknown(),
                unknown,
                n_differences: listening.n_differences(),
                differences: listening.differences().to_vec(),
            };
        });
    }
}
