//! The thread that tells one peer of the flows of this director.

use std::io::{self, ErrorKind};
use std::mem::{replace, take};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, park_timeout};
use std::time::Duration;

use ipnet::IpNet;
use lb_common::cell::State;
use lb_common::layout::Settings;

use socket2::{Domain, Socket, Type};

use super::networks::networks;
use super::sealed::{self, Broken, Receiver, Sender};
use super::shared::{Directory, Peer, Shared, lock};
use crate::io::clock;
use crate::io::datapath::{News, Shadow};
use crate::io::vital::Vital;
use crate::model::sync::{
    Interface, MAX_RECORDS, Message, Record, Server, Services, Telling, is_news, seconds,
};

/// Time between two looks at the marks: what has changed is on its way within it.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Looks in which the whole table is looked through besides, for what has aged and what has no mark: 4 s.
const LOOKS_PER_ROUND: usize = 800;
/// Time between two attempts to connect.
const CONNECT_EVERY: Duration = Duration::from_millis(500);
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// Tells a peer for as long as the process lives.
pub(super) fn run(shared: &Arc<Shared>, peer: &Peer) {
    peer.is_told_here();
    loop {
        let ended = connect(shared.listen, peer.address)
            .map_err(Broken::from)
            .and_then(|stream| sealed::open(stream, &shared.key))
            .and_then(|(sender, receiver)| Teller::talk(shared, peer, sender, receiver));
        let Err(broken) = ended;
        shared.count(&broken);
        let problem = broken.to_string();
        if peer.told.state().problem.as_ref() != Some(&problem) {
            tracing::warn!("flows are not told to the director at {}: {problem}", peer.address);
        }
        peer.told.ended(Some(problem));
        peer.leave();
        park_timeout(CONNECT_EVERY);
    }
}

/// Connects from the address that this director listens on, for that is what it is known by.
fn connect(from: SocketAddr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    if from.is_ipv4() == to.is_ipv4() && !from.ip().is_unspecified() {
        socket.bind(&SocketAddr::new(from.ip(), 0).into())?;
    }
    socket.connect_timeout(&to.into(), CONNECT_WITHIN)?;
    Ok(socket.into())
}

/// One connection.
struct Teller<'a> {
    shared: &'a Shared,
    peer: &'a Peer,
    sender: Sender,
    directory: Arc<Directory>,
    settings: Settings,
    /// Indexes and networks.
    interfaces: Vec<(u32, Vec<IpNet>)>,
    servers: Vec<(u32, Server)>,
    services: Option<Services>,
    records: Vec<Record>,
    /// Where the look through the whole table has come to.
    round: usize,
    /// Stretches in which something was being written at the last look.
    unfinished: Vec<usize>,
}

/// A thing that never comes.
enum Never {}

impl<'a> Teller<'a> {
    fn talk(
        shared: &'a Arc<Shared>,
        peer: &'a Peer,
        sender: Sender,
        receiver: Receiver,
    ) -> Result<Never, Broken> {
        let telling = Arc::new(Mutex::new(Telling::new(clock::now())));
        let is_open = Arc::new(AtomicBool::new(true));
        let directory = shared.directory();
        let settings = directory.table.settings()?;
        let (interfaces, servers, records) = (Vec::new(), Vec::new(), Vec::new());
        let services = None;
        let (round, unfinished) = (0, Vec::new());
        let mut teller = Self {
            shared,
            peer,
            sender,
            directory,
            settings,
            interfaces,
            servers,
            services,
            records,
            round,
            unfinished,
        };
        thread::scope(|scope| {
            let (answers, open) = (Arc::clone(&telling), Arc::clone(&is_open));
            let hear = move || {
                hear(peer, receiver, &answers);
                open.store(false, Ordering::Relaxed);
            };
            scope.spawn(|| Vital::run(hear));
            let ended = teller.tell(&telling, &is_open);
            teller.sender.end();
            ended
        })
    }

    fn tell(&mut self, telling: &Mutex<Telling>, is_open: &AtomicBool) -> Result<Never, Broken> {
        self.sender.send(&self.shared.hello)?;
        self.tell_interfaces()?;
        self.tell_servers()?;
        self.tell_services()?;
        self.begin(telling);
        tracing::info!("flows are told to the director at {}", self.peer.address);
        while is_open.load(Ordering::Relaxed) {
            self.follow(telling)?;
            if self.peer.again.swap(false, Ordering::Relaxed) {
                self.begin(telling);
            }
            self.look(telling)?;
            self.note(telling)?;
            park_timeout(LOOK_EVERY);
        }
        Err(Broken::Connection(ErrorKind::ConnectionAborted.into()))
    }

    /// Everything is to be told, and what is told before that is done is not whole.
    fn begin(&self, telling: &Mutex<Telling>) {
        lock(telling).set_whole(false);
        self.peer.forget(&self.directory.table);
    }

    /// Goes by what the loop has told since.
    fn follow(&mut self, telling: &Mutex<Telling>) -> Result<(), Broken> {
        let before = replace(&mut self.directory, self.shared.directory());
        self.settings = self.directory.table.settings()?;
        if Arc::ptr_eq(&before, &self.directory) {
            return Ok(());
        }
        self.tell_servers()?;
        self.tell_services()?;
        if !Arc::ptr_eq(&before.table, &self.directory.table) {
            self.begin(telling);
        }
        Ok(())
    }

    /// Tells of the backends by what they are, where that is news.
    fn tell_servers(&mut self) -> Result<(), Broken> {
        let backends = self.directory.backends.iter();
        let servers: Vec<_> =
            backends.filter_map(|(id, backend)| Some((*id, Server::of(backend)?))).collect();
        if servers != self.servers {
            for message in Message::servers(&servers) {
                self.sender.send(&message)?;
            }
            self.servers = servers;
        }
        Ok(())
    }

    /// Tells of the services, where that is news.
    fn tell_services(&mut self) -> Result<(), Broken> {
        let services = &self.directory.services;
        if self.services.as_ref() != Some(services) {
            for message in Message::services(services) {
                self.sender.send(&message)?;
            }
            self.services = Some(services.clone());
        }
        Ok(())
    }

    /// Tells of the interfaces, where that is news.
    fn tell_interfaces(&mut self) -> Result<(), Broken> {
        let interfaces = networks(&self.shared.interfaces);
        if interfaces == self.interfaces {
            return Ok(());
        }
        let all = (1..).zip(interfaces.clone());
        let told = all.map(|(number, (_, networks))| Interface { number, networks }).collect();
        self.interfaces = interfaces;
        self.sender.send(&Message::Interfaces(told)).map(drop)
    }

    /// Tells all news.
    fn look(&mut self, telling: &Mutex<Telling>) -> Result<(), Broken> {
        let directory = Arc::clone(&self.directory);
        self.shared.collect_marks(&directory.table);
        let (marks, shadow) = (self.peer.marks(), self.peer.shadow());
        let part = marks.len().div_ceil(LOOKS_PER_ROUND);
        let round = self.round..(self.round + part).min(marks.len());
        self.round = if round.end == marks.len() { 0 } else { round.end };
        if round.start == 0 {
            self.tell_interfaces()?;
        }
        let before = take(&mut self.unfinished);
        for (stretch, mark) in marks.iter().enumerate() {
            let is_marked = mark.load(Ordering::Relaxed) && mark.swap(false, Ordering::Acquire);
            if !is_marked && !round.contains(&stretch) {
                continue;
            }
            let is_finished = self.look_at(stretch, &directory, &shadow);
            // Once more, for a packet may be writing there; what stays so is looked at in the next round.
            if !is_finished && !before.contains(&stretch) {
                mark.store(true, Ordering::Relaxed);
                self.unfinished.push(stretch);
            }
            // A stretch has 512 cells.
            if self.records.len() + 512 > MAX_RECORDS {
                self.flush(telling)?;
                self.note(telling)?;
            }
        }
        self.flush(telling)?;
        let is_moving = self.settings.other_mask != 0;
        lock(telling).set_whole(!is_moving && !self.peer.again.load(Ordering::Relaxed));
        Ok(())
    }

    /// Whether there is nothing left to tell of a stretch.
    fn look_at(&mut self, stretch: usize, directory: &Directory, shadow: &Shadow) -> bool {
        let (settings, tick) = (self.settings, clock::tick());
        let (records, interfaces) = (&mut self.records, &self.interfaces);
        directory.table.look(
            stretch,
            shadow,
            &settings,
            |id| directory.backends.get(&id),
            |told, now| is_news(told, now, &settings.timeouts),
            |news| records.push(record(news, interfaces, tick)),
        )
    }

    fn flush(&mut self, telling: &Mutex<Telling>) -> Result<(), Broken> {
        if self.records.is_empty() {
            return Ok(());
        }
        let records = replace(&mut self.records, Vec::with_capacity(MAX_RECORDS));
        let n_records = records.len();
        lock(telling).told(clock::now());
        let bytes = self.sender.send(&Message::Flows(records))?;
        self.peer.told.count(n_records, bytes);
        Ok(())
    }

    /// Marks what was told, and notes how far the peer has come.
    fn note(&mut self, telling: &Mutex<Telling>) -> Result<(), Broken> {
        let now = clock::now();
        let mut telling = lock(telling);
        let mark = telling.mark(now);
        let (lag, is_whole, is_lost) = (telling.lag(now), telling.is_whole(), telling.is_lost(now));
        drop(telling);
        self.peer.told.update(|state| {
            (state.is_connected, state.problem, state.at) = (true, None, Some(now));
            (state.lag, state.is_whole) = (lag, is_whole);
        });
        if is_lost {
            return Err(Broken::Silent);
        }
        mark.map_or(Ok(()), |mark| self.sender.send(&mark).map(drop))
    }
}

/// Hears how far the peer has come, until the connection ends.
fn hear(peer: &Peer, mut receiver: Receiver, telling: &Mutex<Telling>) {
    while let Ok((message, _)) = receiver.receive() {
        match message {
            Message::Hello { run, node } => {
                peer.is_run(run);
                peer.told.update(|state| state.node = Some(node));
            }
            Message::Seen { number } => lock(telling).seen(number, clock::now()),
            Message::Again => peer.again.store(true, Ordering::Relaxed),
            // What only a teller says.
            Message::Servers { .. }
            | Message::Services { .. }
            | Message::Interfaces(_)
            | Message::Flows(_)
            | Message::Mark { .. } => return,
        }
    }
}

fn record(news: News, interfaces: &[(u32, Vec<IpNet>)], tick: u64) -> Record {
    let News { cell, mut detail } = news;
    let mut numbered = (1..).zip(interfaces);
    let found = numbered.find(|(_, (index, _))| *index == detail.hop_interface);
    detail.hop_interface = found.map_or(0, |(number, _)| number);
    // A packet may already have come in the next tick.
    let idle = cell.idle_ticks(tick.wrapping_add(1)).saturating_sub(1);
    Record {
        backend: cell.backend(),
        // It is not empty, or it would be no news.
        state: cell.state().unwrap_or(State::Closing),
        is_reply: cell.is_reply(),
        is_translated: cell.is_translated(),
        idle_seconds: seconds(idle),
        detail,
    }
}
