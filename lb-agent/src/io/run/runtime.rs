//! Carries out what the core decides; owns the core and all that it acts on.

use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Instant;

use lb_common::api::Applied;
use tokio::sync::mpsc;

use super::beside::Inputs;
use super::confirm::Unconfirmed;
use super::faults::{Act, Faults};
use super::floods::Floods;
use super::sets::SetFiles;
use super::source::Source;
use super::trace::DropLog;
use crate::io::causes::with_causes;
use crate::io::clock::{self, Calendar};
use crate::io::datapath::{Datapath, DatapathError, FlowCounts, Swept};
use crate::io::message::{Failure, Message};
use crate::io::metrics::Reloads;
use crate::io::netlink::{Addresses, Resolver, host_addresses};
use crate::io::sync::Replication;
use crate::io::vrrp::{Scripts, Vrrp};
use crate::io::{notify, probe, store};
use crate::model::agent::{Agent, Effect, Event, ProbeOutcome, Refusal, RequestId, Target};
use crate::model::config::HealthCheck;
use crate::model::overlay::Overlay;
use crate::model::tables::Write;

const WRITE: Act = Act::needed("write the kernel's tables");
const ADDRESSES: Act = Act::needed("put the VIPs on the interface");
const HOST: Act = Act::needed("know the host's own addresses");
const INTERFACES: Act = Act::needed("use all interfaces");
const OVERLAY: Act = Act::needed("save the changes made at run time");
const PROBES: Act = Act::dispensable("probe all backends");
const SWEEP: Act = Act::needed("sweep the flow table");

/// Sweeps from one look at interfaces and VIPs to the next, whatever the kernel tells.
const SWEEPS_PER_LOOK: u64 = 10;

/// Everything that one agent has.
pub(super) struct Runtime {
    pub(super) agent: Agent,
    pub(super) datapath: Datapath,
    pub(super) replication: Option<Replication>,
    pub(super) resolver: Resolver,
    pub(super) addresses: Addresses,
    pub(super) vrrp: Vrrp,
    pub(super) scripts: Scripts,
    pub(super) source: Source,
    pub(super) set_files: SetFiles,
    pub(super) drop_log: DropLog,
    /// For tasks that have something to tell.
    pub(super) messages: mpsc::Sender<Message>,
    /// For probes that have ended.
    pub(super) probes: mpsc::Sender<(Target, ProbeOutcome)>,
    pub(super) started_at: Instant,
    pub(super) calendar: Calendar,
    pub(super) reloads: Reloads,
    pub(super) faults: Faults,
    /// What the last sweep counted.
    pub(super) flows: FlowCounts,
    pub(super) noted_floods: Floods,
    pub(super) wanted_addresses: BTreeSet<IpAddr>,
    /// A write has failed, and what the maps hold was not read since.
    pub(super) is_out_of_step: bool,
    pub(super) sweeps: u64,
    pub(super) is_sweeping: bool,
    /// A configuration that waits for its confirmation.
    pub(super) unconfirmed: Option<Unconfirmed>,
    pub(super) inputs: Inputs,
    /// What waits until a change has ended.
    pub(super) deferred: VecDeque<Message>,
    /// When the change began that something beside the loop is done for now.
    pub(super) changing_since: Option<Instant>,
    pub(super) next_request: RequestId,
    /// What the service manager was told last.
    pub(super) told: String,
    /// Whether it was told that traffic is balanced.
    pub(super) is_announced: bool,
}

impl Runtime {
    /// Tells the core what happened and does what it says.
    pub(super) async fn happened(&mut self, event: Event) {
        let effects = self.agent.handle(clock::now(), event);
        self.carry_out(effects).await;
        self.announce();
    }

    /// Has the core decide about a request, does what it says and returns its answer.
    pub(super) async fn requested(
        &mut self,
        event: impl FnOnce(RequestId) -> Event,
        dry_run: bool,
    ) -> Result<Applied, Failure> {
        self.next_request += 1;
        let reply = self.decide(event(self.next_request), dry_run).await?;
        let no_reply = || Failure::internal("the core has not answered the request");
        reply.ok_or_else(no_reply)?.map_err(Failure::from)
    }

    /// The answer to a change that was taken, unless kernel or disk do not have it yet.
    pub(super) fn confirm(&self, applied: Applied) -> Result<Applied, Failure> {
        let (error, help) = if applied.dry_run {
            return Ok(applied);
        } else if self.faults.contains(WRITE) {
            (
                "the change is taken, but the kernel's tables could not be written",
                "it is tried again",
            )
        } else if self.faults.contains(OVERLAY) {
            ("the change is made, but could not be saved: a restart loses it", "it is tried again")
        } else {
            return Ok(applied);
        };
        Err(Failure::internal(error)
            .with_help(&format!("{help}; `lb-ctl status` tells the reason")))
    }

    /// Carries out effects in order; returns the reply if there is one among them.
    pub(super) async fn carry_out(
        &mut self,
        effects: Vec<Effect>,
    ) -> Option<Result<Applied, Refusal>> {
        let mut reply = None;
        let has_writes = effects.iter().any(|effect| matches!(effect, Effect::Write(_)));
        for effect in effects {
            match effect {
                Effect::Write(writes) => self.write(&writes),
                Effect::Compile(order) => self.start_compiling(*order),
                Effect::Probe { target, check } => self.start_probe(target, check),
                Effect::Watch(addresses) => self.resolver.watch(addresses),
                Effect::Addresses(wanted) => {
                    self.wanted_addresses = wanted;
                    self.look_at_addresses().await;
                }
                Effect::Vrrp { routers, dead_services } => self.run_vrrp(routers, dead_services),
                Effect::SaveOverlay(overlay) => self.save(&overlay),
                Effect::ClearRuleCounts(numbers) => self.clear_rule_counts(&numbers),
                Effect::SaveRuleNumbers(numbers) => self.save_rule_numbers(&numbers),
                Effect::SetRefused { set, reason } => self.set_files.refuse(&set, &reason),
                Effect::SaveSet { set, elements } => self.save_set(set, elements).await,
                Effect::Reply { request: _, result } => reply = Some(result),
                Effect::Notice(notice) => tracing::info!("{notice}"),
                Effect::Warning(warning) => tracing::warn!("{warning}"),
            }
        }
        if has_writes {
            self.tell_status();
        }
        if reply.as_ref().is_some_and(Result::is_ok) {
            self.publish();
        }
        reply
    }

    fn save(&mut self, overlay: &Overlay) {
        let saved = store::save_overlay(&self.agent.config().agent.state_dir, overlay);
        self.faults.note(OVERLAY, saved.map_err(|error| with_causes(&error)));
    }

    /// Once a write has failed, what the maps hold is unknown until they are read again.
    fn write(&mut self, writes: &[Write]) {
        if self.is_out_of_step {
            return;
        }
        tracing::debug!(n_writes = writes.len(), "write the kernel's tables");
        let written = self.datapath.apply(writes);
        self.is_out_of_step = written.is_err();
        self.publish_writes(writes);
        self.note_write(written);
    }

    fn note_write(&mut self, written: Result<(), DatapathError>) {
        self.faults.note(WRITE, written.map_err(|error| with_causes(&error)));
    }

    /// Has everything be planned and written once more, at the next sweep.
    pub(super) fn write_again(&mut self, reason: String) {
        self.faults.note(WRITE, Err(reason));
    }

    fn start_probe(&self, target: Target, check: HealthCheck) {
        let (ended, messages) = (self.probes.clone(), self.messages.clone());
        tokio::spawn(async move {
            // Sending fails when the agent is stopping, and then nobody wants to know.
            match probe::probe(target.address, &check).await {
                Ok(outcome) => {
                    let (passed, result) = (outcome.passed, &outcome.result);
                    tracing::debug!(passed, "probe of {target}: {result}");
                    drop(ended.send((target, outcome)).await);
                }
                Err(probe::NotProbed(reason)) => {
                    drop(messages.send(Message::NotProbed(target, reason)).await);
                }
            }
        });
    }

    /// Puts program and VIPs where they belong: an interface may have come back, or gone down and up, which
    /// costs its IPv6 addresses.
    pub(super) async fn look_at_the_host(&mut self) {
        self.look_at_interfaces();
        self.look_at_addresses().await;
        match host_addresses().await {
            Ok(host) => {
                self.faults.note(HOST, Ok(()));
                self.happened(Event::Host(host)).await;
            }
            Err(error) => self.faults.note(HOST, Err(with_causes(&error))),
        }
    }

    pub(super) fn look_at_interfaces(&mut self) {
        let problems = self.datapath.follow_interfaces();
        let problems: Vec<_> = problems.iter().map(|problem| with_causes(problem)).collect();
        let used = if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) };
        self.faults.note(INTERFACES, used);
    }

    async fn look_at_addresses(&mut self) {
        let set = self.addresses.set(&self.wanted_addresses).await;
        self.faults.note(ADDRESSES, set.map_err(|error| with_causes(&error)));
    }

    /// Counts and frees flows, beside the loop: a scan of the whole table takes milliseconds.
    pub(super) fn start_sweep(&mut self) {
        if std::mem::replace(&mut self.is_sweeping, true) {
            return;
        }
        let (flows, messages) = (self.datapath.flows(), self.messages.clone());
        tokio::task::spawn_blocking(move || {
            let counts = flows.sweep(clock::tick()).map_err(|error| with_causes(&error));
            // It fails when the agent is stopping, and then nobody wants to know.
            drop(messages.blocking_send(Message::Swept(counts)));
        });
    }

    /// A sweep has ended; it is also the moment to try again what did not work.
    pub(super) async fn swept(&mut self, swept: Result<Swept, String>) {
        self.is_sweeping = false;
        match swept {
            Ok(Swept::Part) => return self.start_sweep(),
            Ok(Swept::Moved) => self.faults.note(SWEEP, Ok(())),
            Ok(Swept::All(counts)) => {
                self.faults.note(SWEEP, Ok(()));
                self.follow_move(&counts).await;
                // Cells on their way to another table keep what they have.
                if counts.old.is_none() {
                    self.happened(Event::GenerationsSwept).await;
                }
                self.flows = counts;
                self.happened(Event::FlowCounts(self.flows.cells.clone())).await;
            }
            Err(reason) => self.faults.note(SWEEP, Err(reason)),
        }
        self.sweeps += 1;
        self.note_probes();
        self.note_floods();
        self.look_at_set_files();
        self.look_at_vrrp();
        self.look_at_drops();
        self.look_at_cookies().await;
        if self.faults.contains(WRITE) {
            self.write_anew().await;
        }
        if self.faults.contains(OVERLAY) {
            let overlay = self.agent.overlay().clone();
            self.save(&overlay);
        }
        if self.faults.contains(ADDRESSES) || self.sweeps.is_multiple_of(SWEEPS_PER_LOOK) {
            self.look_at_the_host().await;
        }
        if self.sweeps % SWEEPS_PER_LOOK == 1 {
            self.look_at_size();
        }
    }

    fn note_probes(&mut self) {
        let missed = self.agent.checks().missed().map(str::to_owned);
        self.faults.note(PROBES, missed.map_or(Ok(()), Err));
    }

    /// Reads what the maps hold, and has everything planned from there.
    pub(super) async fn write_anew(&mut self) {
        match self.datapath.tables() {
            Ok(installed) => {
                self.is_out_of_step = false;
                self.happened(Event::Installed(Box::new(installed))).await;
                // Only now: reading works although writing does not, and the fault lasts.
                if !self.is_out_of_step {
                    self.faults.note(WRITE, Ok(()));
                }
            }
            Err(error) => self.note_write(Err(error)),
        }
    }

    /// Tells the service manager, once, that traffic is balanced: when it is known which backends can be
    /// reached.
    pub(super) fn announce(&mut self) {
        if self.is_announced || self.agent.awaited().is_some() {
            return;
        }
        self.is_announced = true;
        self.tell_ready();
        tracing::info!("ready: {}", self.told);
    }

    pub(super) fn tell_ready(&mut self) {
        self.told = self.status_line();
        notify::ready(&self.told);
    }

    /// Tells the service manager when its line has changed.
    fn tell_status(&mut self) {
        let line = self.status_line();
        if line != self.told {
            notify::status(&line);
            self.told = line;
        }
    }

    pub(super) fn status_line(&self) -> String {
        let summary = self.agent.summary();
        let (serving, backends) = (summary.backends_serving, summary.backends);
        format!("services: {}, backends serving: {serving} of {backends}", summary.services)
    }
}
