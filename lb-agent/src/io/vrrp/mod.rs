//! Virtual routers at work: a thread of its own, which waits for nothing but its sockets and its clock.
//!
//! The core loop tells it what to run and hears of what has changed; neither waits for the other. Everything that
//! may block (the log, scripts) is done elsewhere.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use lb_common::api::{RouterChange, VrrpStatus};
use tokio::sync::oneshot;

use super::clock::Calendar;
use super::datapath::Macs;
use super::message::{Message, Reply};
use super::sync::Watch;
use super::vital::Vital;
use crate::model::config;
use crate::model::vrrp::{Change, NotReleased};

mod beat;
mod devices;
mod kernel;
mod outbox;
mod places;
mod priority;
mod runs;
mod scripts;
mod sockets;
mod thread_loop;

pub use places::remove_all;
pub use scripts::Scripts;

/// What the thread is told and asked.
#[derive(Debug)]
enum Command {
    Configure {
        routers: Vec<config::Vrrp>,
        dead_services: BTreeSet<String>,
    },
    /// Preempts only where this says that flows are in step; `None`: it is not there yet.
    Follow(Option<Watch>),
    Status(Reply<VrrpStatus>),
    History(Calendar, Reply<Vec<RouterChange>>),
    Release(String, oneshot::Sender<Result<VrrpStatus, NotReleased>>),
    Stop,
}

/// What it tells.
#[derive(Clone, Debug)]
pub enum Told {
    /// A router has changed its state.
    Changed(Change),
    /// Something that an operator should look at.
    Warning(String),
}

/// Where the thread keeps what outlives it.
#[derive(Clone, Debug)]
pub struct Folders {
    /// Outlives a boot: which addresses were put on interfaces.
    pub state: PathBuf,
    /// Does not: when the last advertisement was sent.
    pub run: PathBuf,
}

/// The virtual routers; no thread runs until there is one.
pub struct Vrrp {
    folders: Folders,
    core: tokio::sync::mpsc::Sender<Message>,
    /// The key of advertisements: there is one where other directors tell of their flows.
    key: Option<[u8; 32]>,
    /// Where the packet path is told of virtual MAC addresses.
    macs: Macs,
    /// What is asked how that stands.
    flows: Option<Watch>,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    commands: mpsc::Sender<Command>,
    bell: UnixStream,
    thread: JoinHandle<()>,
}

impl Vrrp {
    /// None are running yet. `key`: of advertisements; it is there where other directors tell this one of their
    /// flows.
    pub fn new(
        folders: Folders,
        core: tokio::sync::mpsc::Sender<Message>,
        key: Option<[u8; 32]>,
        macs: Macs,
    ) -> Self {
        Self { folders, core, key, macs, flows: None, running: None }
    }

    /// From now on they preempt only while the flows of other directors are known here.
    pub fn follow(&mut self, flows: Watch) {
        self.flows = Some(flows.clone());
        self.tell(Command::Follow(Some(flows)));
    }

    /// Runs exactly these from now on, in the network namespace of this thread.
    pub fn configure(
        &mut self,
        routers: Vec<config::Vrrp>,
        dead_services: BTreeSet<String>,
    ) -> io::Result<()> {
        if self.running.is_none() {
            if routers.is_empty() {
                self.macs.set_virtual(&BTreeSet::new()).map_err(io::Error::other)?;
                return places::remove_all(&self.folders.state);
            }
            self.running = Some(self.start()?);
            if self.key.is_some() {
                self.tell(Command::Follow(self.flows.clone()));
            }
        }
        self.tell(Command::Configure { routers, dead_services });
        Ok(())
    }

    fn start(&self) -> io::Result<Running> {
        let (commands, inbox) = mpsc::channel();
        let (bell, heard) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        heard.set_nonblocking(true)?;
        let prover = self.key.map(|key| runs::prover(&self.folders.state, &key));
        let core = self.core.clone();
        let with = (prover, self.macs.clone());
        let thread = thread_loop::Thread::open(&self.folders, inbox, heard, core, with)?;
        let run = move || Vital::run(|| thread.run());
        let thread = thread::Builder::new().name("vrrp".into()).spawn(run)?;
        Ok(Running { commands, bell, thread })
    }

    /// Asks for the state of all routers.
    pub fn status(&self, reply: Reply<VrrpStatus>) {
        if let Some(Command::Status(reply)) = self.tell(Command::Status(reply)) {
            drop(reply.send(Ok(VrrpStatus::default())));
        }
    }

    /// Asks for the changes of state.
    pub fn history(&self, calendar: Calendar, reply: Reply<Vec<RouterChange>>) {
        if let Some(Command::History(_, reply)) = self.tell(Command::History(calendar, reply)) {
            drop(reply.send(Ok(Vec::new())));
        }
    }

    /// Lets another director have a router.
    pub fn release(&self, router: String, reply: oneshot::Sender<Result<VrrpStatus, NotReleased>>) {
        if let Some(Command::Release(router, reply)) = self.tell(Command::Release(router, reply)) {
            drop(reply.send(Err(NotReleased::Unknown(router))));
        }
    }

    /// Stands down, and waits until it is done.
    pub fn stop(&mut self) {
        self.tell(Command::Stop);
        if let Some(running) = self.running.take() {
            // Had it panicked, this process would be gone.
            drop(running.thread.join());
        }
    }

    /// Gives the command back if nobody takes it.
    fn tell(&self, command: Command) -> Option<Command> {
        let Some(running) = &self.running else { return Some(command) };
        if let Err(mpsc::SendError(command)) = running.commands.send(command) {
            return Some(command);
        }
        // A full bell rings already.
        drop((&running.bell).write(&[1]));
        None
    }
}
