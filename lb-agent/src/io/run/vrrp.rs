//! The core loop and the thread of the virtual routers.

use std::collections::BTreeSet;
use std::path::Path;

use lb_common::api::{Release, RouterState, VrrpStatus};
use tokio::sync::{mpsc, oneshot};

use super::Turn;
use super::faults::Act;
use super::runtime::Runtime;
use crate::io::clock;
use crate::io::datapath::Macs;
use crate::io::message::{Failure, Message, Reply};
use crate::io::notify;
use crate::io::vrrp::{Folders, Told, Vrrp};
use crate::model::config::{self, Config};
use crate::model::vrrp::NotReleased;

const VRRP: Act = Act::needed("run the virtual routers");

/// No router runs yet. What does not outlive a boot lies beside the API's socket.
pub(super) fn prepare(
    config: &Config,
    messages: &mpsc::Sender<Message>,
    key: Option<[u8; 32]>,
    macs: Macs,
) -> Vrrp {
    let run = config.api.socket.parent().unwrap_or(Path::new("/run")).to_owned();
    let folders = Folders { state: config.agent.state_dir.clone(), run };
    Vrrp::new(folders, messages.clone(), key, macs)
}

impl Runtime {
    pub(super) fn run_vrrp(&mut self, routers: Vec<config::Vrrp>, dead_services: BTreeSet<String>) {
        let running = self.vrrp.configure(routers, dead_services);
        self.faults.note(VRRP, running.map_err(|error| error.to_string()));
    }

    /// Tries again what did not work.
    pub(super) fn look_at_vrrp(&mut self) {
        if self.faults.contains(VRRP) {
            let (routers, dead_services) = self.agent.virtual_routers();
            self.run_vrrp(routers, dead_services);
        }
    }

    pub(super) fn heard_of_vrrp(&self, told: Told) {
        match told {
            Told::Changed(change) => {
                let (router, from, to) = (&change.router, change.from.name(), change.to.name());
                let said = format!("virtual router {router}: {from} -> {to}: {}", change.reason);
                match change.to {
                    RouterState::Initialize => tracing::warn!("{said}"),
                    RouterState::Backup | RouterState::Active => tracing::info!("{said}"),
                }
                self.scripts.tell(&change);
            }
            Told::Warning(warning) => tracing::warn!("virtual routers: {warning}"),
        }
    }

    pub(super) fn answer_release(&self, release: Release, reply: Reply<VrrpStatus>) {
        let (done, released) = oneshot::channel();
        self.vrrp.release(release.router, done);
        tokio::spawn(async move {
            let gone = || Failure::internal("the virtual routers are stopping");
            let answer = released.await.map_err(|_gone| gone());
            drop(reply.send(answer.and_then(|released| released.map_err(Failure::from))));
        });
    }

    pub(super) fn answer_vrrp_history(&mut self, reply: Reply<Vec<lb_common::api::RouterChange>>) {
        self.calendar.follow(clock::now(), clock::unix());
        self.vrrp.history(self.calendar, reply);
    }

    /// Stands down; the packet path goes on forwarding meanwhile.
    pub(super) async fn stop_vrrp(&mut self) {
        let none = prepare(self.agent.config(), &self.messages, None, self.datapath.macs());
        let mut vrrp = std::mem::replace(&mut self.vrrp, none);
        let mut stopped = tokio::task::spawn_blocking(move || vrrp.stop());
        let stopped = loop {
            tokio::select! {
                stopped = &mut stopped => break stopped,
                turn = self.inputs.next() => self.hear_at_the_end(turn),
            }
        };
        if let Err(error) = stopped {
            tracing::error!("stop the virtual routers: {error}");
        }
        for message in self.inputs.rest() {
            self.hear_at_the_end(Turn::Message(message));
        }
    }

    /// Of all that comes in after the loop, what the virtual routers tell still counts.
    fn hear_at_the_end(&self, turn: Turn) {
        match turn {
            Turn::Message(Message::Vrrp(told)) => self.heard_of_vrrp(told),
            Turn::Alive => notify::alive(),
            Turn::Message(_) | Turn::Event(_) | Turn::RollBack | Turn::Sweep => {}
        }
    }
}

impl From<NotReleased> for Failure {
    fn from(error: NotReleased) -> Self {
        let status = match &error {
            NotReleased::Unknown(_) => hyper::StatusCode::NOT_FOUND,
            NotReleased::NotActive(_) => hyper::StatusCode::CONFLICT,
        };
        Self::new(status, error)
    }
}
