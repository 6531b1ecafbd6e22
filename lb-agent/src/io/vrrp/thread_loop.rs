//! The thread: it waits, looks at its clock, hears everything that has come, and only then decides what was due before
//! it began to hear.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use super::beat::Beats;
use super::kernel::read_network;
use super::outbox::Outbox;
use super::places::Places;
use super::sockets::Sockets;
use super::{Command, Folders, Told, priority};
use crate::io::causes::with_causes;
use crate::io::clock;
use crate::io::datapath::Macs;
use crate::io::message::Message;
use crate::io::netlink::News;
use crate::io::sync::Watch;
use crate::model::config;
use crate::model::sync::Vips;
use crate::model::vrrp::packet::frame;
use crate::model::vrrp::proof::Prover;
use crate::model::vrrp::{Effect, Event, Key, Place, Routers};

/// The core loop had no room for what it is to be told.
const TELL_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// An address or a socket that could not be had is tried again after this time.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Everything that the thread has.
pub(super) struct Thread {
    inbox: mpsc::Receiver<Command>,
    bell: UnixStream,
    outbox: Outbox,
    routers: Routers,
    is_started: bool,
    prover: Option<Prover>,
    entries: Vec<config::Vrrp>,
    /// What the flows of other directors are asked of, and its last answer.
    flows: Option<(Watch, bool)>,
    /// Whether replication is still to be told who has which address.
    has_moved: bool,
    news: News,
    sockets: Sockets,
    places: Places,
    beats: Beats,
    /// What the packet path accepts frames to.
    macs: Macs,
    accepted: BTreeSet<Key>,
    wanted: BTreeSet<Place>,
    try_again_at: Option<Instant>,
    is_stopping: bool,
    /// What was told last and still holds.
    warned: BTreeSet<String>,
}

impl Thread {
    pub(super) fn open(
        folders: &Folders,
        inbox: mpsc::Receiver<Command>,
        bell: UnixStream,
        core: tokio::sync::mpsc::Sender<Message>,
        (prover, macs): (Option<Prover>, Macs),
    ) -> io::Result<Self> {
        Ok(Self {
            inbox,
            bell,
            outbox: Outbox::new(core),
            routers: Routers::default(),
            is_started: false,
            prover,
            entries: Vec::new(),
            flows: None,
            has_moved: false,
            news: News::open()?,
            sockets: Sockets::default(),
            places: Places::open(&folders.state)?,
            beats: Beats::open(&folders.run)?,
            macs,
            accepted: BTreeSet::new(),
            wanted: BTreeSet::new(),
            try_again_at: None,
            is_stopping: false,
            warned: BTreeSet::new(),
        })
    }

    pub(super) fn run(mut self) {
        if let Err(reason) = priority::raise() {
            self.warn(reason);
        }
        while self.turn() {}
        self.beats.clear();
        self.accepted.clear();
        self.accept();
        let closed = self.places.close();
        self.warn_of(closed);
        self.outbox.close();
    }

    /// One wait and what follows it; false at the end.
    fn turn(&mut self) -> bool {
        self.wait();
        self.take_commands();
        if self.news.take() {
            self.look_at_network();
        }
        // This thread may be stopped anywhere. What comes due while it reads may be prevented by what has come meanwhile,
        // so it waits; and what was read was alive until then.
        let due = clock::now();
        self.look_at_flows(due);
        let packets = self.sockets.receive();
        let effects = self.routers.catch_up(due, clock::now(), packets);
        self.carry_out(effects);
        if self.try_again_at.is_some_and(|at| at <= due) {
            self.look_at_network();
        }
        self.tell_who_has_what();
        self.outbox.tell_again();
        !(self.is_stopping && self.routers.is_done())
    }

    fn wait(&mut self) {
        let now = clock::now();
        let tell_at = self.outbox.is_waiting().then(|| now + TELL_AGAIN_AFTER);
        let deadlines = [self.routers.deadline(), self.try_again_at, tell_at];
        let deadline = deadlines.into_iter().flatten().min();
        let patience = deadline.map(|at| at.saturating_duration_since(now));
        let readable = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut fds = vec![readable(self.bell.as_fd()), readable(self.news.as_fd())];
        fds.extend(self.sockets.each().map(readable));
        // Interrupted or not: whatever has come is looked at.
        ppoll(&mut fds, patience.map(TimeSpec::from), None).ok();
    }

    fn take_commands(&mut self) {
        let mut rung = [0; 64];
        while (&self.bell).read(&mut rung).is_ok_and(|length| length > 0) {}
        while let Ok(command) = self.inbox.try_recv() {
            self.command(command);
        }
    }

    fn command(&mut self, command: Command) {
        let now = clock::now();
        match command {
            Command::Configure { routers, dead_services } => self.configure(routers, dead_services),
            Command::Follow(watch) => {
                self.flows = watch.map(|watch| (watch, false));
                self.has_moved = true;
                self.happened(now, Event::InStep(false));
            }
            // Whoever asked may be gone by then, which is no error.
            Command::Status(reply) => drop(reply.send(Ok(self.routers.status(now)))),
            Command::History(calendar, reply) => {
                let changes = self.routers.changes(|at| calendar.unix_seconds(at));
                drop(reply.send(Ok(changes)));
            }
            Command::Release(name, reply) => {
                let released = self.routers.release(now, &name);
                let answer = released.map(|effects| self.carry_out(effects));
                drop(reply.send(answer.map(|()| self.routers.status(now))));
            }
            Command::Stop => {
                self.is_stopping = true;
                self.happened(now, Event::Stop);
            }
        }
    }

    fn configure(&mut self, routers: Vec<config::Vrrp>, dead_services: BTreeSet<String>) {
        if !self.is_started {
            let recent = self.beats.recent(clock::since_boot());
            self.routers = Routers::new(recent, self.prover.take());
        }
        self.entries.clone_from(&routers);
        // The routers first learn what there is, and only then decide.
        self.look_at_network();
        let noted = self.places.note(Routers::all_places(&routers));
        self.warn_of(noted);
        self.happened(clock::now(), Event::Configure { routers, dead_services });
        // Until now everything was left where an agent before this one may have put it.
        self.is_started = true;
        self.place();
        let removed = self.places.remove_devices();
        self.warn_of(removed);
    }

    fn look_at_flows(&mut self, now: Instant) {
        let Some((watch, last)) = &mut self.flows else { return };
        let is_in_step = watch.is_in_step(now).unwrap_or(*last);
        if std::mem::replace(last, is_in_step) != is_in_step {
            self.happened(now, Event::InStep(is_in_step));
        }
    }

    fn tell_who_has_what(&mut self) {
        let Some((watch, _)) = self.flows.as_ref().filter(|_| self.has_moved) else { return };
        self.has_moved = !watch.try_set_vips(Vips::new(self.routers.vips()));
    }

    fn look_at_network(&mut self) {
        self.try_again_at = None;
        match read_network() {
            Ok(network) => {
                self.places.see(&network);
                let made = self.places.make_devices();
                self.warn_of(made);
                let opened = self.sockets.open(&self.entries, &network);
                self.warn_of(opened);
                self.happened(clock::now(), Event::Network(network));
                if self.is_started {
                    self.place();
                }
            }
            Err(error) => self.warn_of(Err(format!("read interfaces and addresses: {error}"))),
        }
    }

    fn happened(&mut self, now: Instant, event: Event) {
        let effects = self.routers.handle(now, event);
        self.carry_out(effects);
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        let mut is_noted = true;
        for effect in effects {
            match effect {
                Effect::Send { interface, virtual_mac, destination, packet } => {
                    is_noted = false;
                    let sent = match virtual_mac {
                        None => self.sockets.send(&interface, destination, &packet),
                        Some(mac) => {
                            self.sockets.announce(&interface, &frame(mac, destination, &packet))
                        }
                    };
                    // What does not leave is missed by the others, who act on it; and the interface's state is told.
                    drop(sent);
                }
                Effect::Accept(accepted) => {
                    self.accepted = accepted;
                    self.accept();
                }
                Effect::Hold => {
                    if let Some((watch, _)) = &self.flows {
                        watch.hold(clock::since_boot());
                    }
                }
                Effect::Addresses(wanted) => {
                    self.wanted = wanted;
                    self.place();
                }
                Effect::Announce { interface, frame } => {
                    let announced = self.sockets.announce(&interface, &frame);
                    self.warn_of(
                        announced.map_err(|error| format!("announce on {interface}: {error}")),
                    );
                }
                Effect::Changed(change) => {
                    is_noted = false;
                    self.has_moved = true;
                    self.outbox.tell(Told::Changed(change));
                }
                Effect::Warning(warning) => self.warn(warning),
            }
        }
        if !is_noted {
            let kept = self.beats.write(self.routers.active(), clock::since_boot());
            self.warn_of(kept.map_err(|error| format!("note the last advertisement: {error}")));
        }
    }

    /// Has frames to the virtual MAC addresses of Active routers accepted: by the packet path, and by the kernel.
    fn accept(&mut self) {
        let told = self.macs.set_virtual(&self.places.macs(&self.accepted));
        self.warn_of(told.map_err(|error| with_causes(&error)));
        let set_up = self.places.set_up(&self.accepted);
        self.warn_of(set_up);
    }

    fn place(&mut self) {
        self.accept();
        let placed = self.places.set(&self.wanted);
        self.warn_of(placed.map_err(|error| with_causes(&error)));
    }

    /// Once, however often it is tried.
    fn warn_of(&mut self, result: Result<(), String>) {
        let Err(warning) = result else { return };
        self.try_again_at.get_or_insert(clock::now() + TRY_AGAIN_AFTER);
        if self.warned.insert(warning.clone()) {
            self.warn(warning);
        }
    }

    fn warn(&mut self, warning: String) {
        self.outbox.tell(Told::Warning(warning));
    }
}
