//! Answers to questions that change nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use hyper::StatusCode;
use lb_common::api::{
    ConfigDiff, Firewall, FlowList, Interface, Service, Set, Status, VerdictCount, VrrpStatus,
};
use tokio::sync::oneshot;

use super::flows;
use super::runtime::Runtime;
use crate::io::causes::with_causes;
use crate::io::clock;
use crate::io::datapath::{Counters, DatapathError};
use crate::io::doctor;
use crate::io::message::{Call, Failure, FlowFilter, Reply};
use crate::io::metrics::Snapshot;
use crate::model::agent::SAME_MODE;
use crate::model::config::diff;
use crate::model::firewall::POLICY;
use crate::model::overlay::Overlay;
use crate::model::tables::server;
use crate::model::views;

impl Runtime {
    /// Answers one call. Whoever asked may be gone by then, which is no error.
    pub(super) async fn answer(&mut self, call: Call) {
        match call {
            Call::Status(reply) => drop(reply.send(self.status())),
            Call::Services(reply) => drop(reply.send(self.services())),
            Call::Health(reply) => drop(reply.send(Ok(self.agent.health(clock::now())))),
            Call::History(reply) => {
                self.calendar.follow(clock::now(), clock::unix());
                let history = self.agent.history(|at| self.calendar.unix_seconds(at));
                drop(reply.send(Ok(history)));
            }
            Call::Flows(filter, reply) => self.answer_flows(filter, reply),
            Call::Drops(reply) => drop(reply.send(self.drops())),
            Call::DropSamples(after, reply) => drop(reply.send(self.drop_samples(after))),
            Call::Explain(packet, reply) => self.answer_explain(&packet, reply),
            Call::Explained(sample, interface, reply) => {
                drop(reply.send(self.explained(&sample, interface)));
            }
            Call::Firewall(reply) => drop(reply.send(self.firewall())),
            Call::Sets(reply) => drop(reply.send(Ok(self.set_list()))),
            Call::SetElements(set, limit, reply) => {
                let elements = self.agent.set_elements(&set, limit);
                drop(reply.send(elements.map_err(Failure::from)));
            }
            Call::Config(reply) => drop(reply.send(Ok(self.source.running()))),
            Call::Diff(reply) => drop(reply.send(Ok(self.diff()))),
            Call::Check(text, session, reply) => {
                drop(reply.send(Ok(self.check_config(&text, session).await)));
            }
            Call::Apply(text, mode, reply) => drop(reply.send(self.apply(text, mode).await)),
            Call::Confirm(reply) => drop(reply.send(self.confirm_config())),
            Call::Reload(mode, reply) => drop(reply.send(self.reload(mode).await)),
            Call::Change(change, mode, reply) => drop(reply.send(self.change(change, mode).await)),
            Call::Sync(reply) => drop(reply.send(self.answer_sync())),
            Call::Doctor(reply) => self.answer_doctor(reply),
            Call::Vrrp(reply) => self.vrrp.status(reply),
            Call::VrrpHistory(reply) => self.answer_vrrp_history(reply),
            Call::Release(release, reply) => self.answer_release(release, reply),
            Call::Metrics(reply) => self.answer_metrics(reply),
            Call::Ready(reply) => drop(reply.send(self.ready())),
        }
    }

    fn status(&self) -> Result<Status, Failure> {
        let summary = self.agent.summary();
        let config = self.agent.config();
        let interfaces = self.datapath.interfaces().map_err(|error| failed(&error))?;
        let warnings = summary.warnings.into_iter().chain(mixed_modes(&interfaces));
        let warnings = warnings.chain(self.move_notice()).chain(self.unconfirmed_notice());
        let warnings = warnings.chain(self.sync_warnings()).chain(self.change_notice());
        let uptime = clock::now().saturating_duration_since(self.started_at);
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").into(),
            node: config.agent.node.clone(),
            uptime_seconds: uptime.as_secs(),
            config_file: self.source.name(),
            config_problem: self.source.problem.clone(),
            overlay: *self.agent.overlay() != Overlay::default(),
            warnings: warnings.chain(self.faults.sentences()).collect(),
            interfaces,
            services: summary.services,
            backends: summary.backends,
            backends_serving: summary.backends_serving,
            flows: self.flows.total,
            max_flows: config.datapath.max_flows.into(),
            flow_move: self.flow_move(),
        })
    }

    fn counters(&self) -> Result<Counters, Failure> {
        let tables = self.agent.installed();
        let (listeners, backends) = (tables.listeners.keys(), tables.backends.keys());
        let counters = self.datapath.counters(listeners.copied(), backends.copied());
        counters.map_err(|error| failed(&error))
    }

    fn services(&self) -> Result<Vec<Service>, Failure> {
        Ok(self.services_with(&self.counters()?))
    }

    fn services_with(&self, counters: &Counters) -> Vec<Service> {
        self.agent.services(views::Counters {
            listeners: &counters.listeners,
            backends: &counters.backends,
            flows: &self.flows.flows,
        })
    }

    fn drops(&self) -> Result<Vec<VerdictCount>, Failure> {
        self.counters().map(|counters| by_verdict(&counters))
    }

    fn firewall(&self) -> Result<Firewall, Failure> {
        let numbers = self.agent.rule_numbers().by_name().values().copied();
        let counts = self.datapath.rule_counts(numbers.chain([POLICY]));
        counts.map(|counts| self.agent.firewall(&counts)).map_err(|error| failed(&error))
    }

    fn set_list(&self) -> Vec<Set> {
        self.agent.set_list(|set| self.set_files.problem(set).map(str::to_owned))
    }

    /// Scans the table and answers beside the loop.
    fn answer_flows(&self, filter: FlowFilter, reply: Reply<FlowList>) {
        let (table, owners) = (self.datapath.flows(), self.agent.owners());
        let hash_key = self.agent.installed().settings.hash_key;
        tokio::task::spawn_blocking(move || {
            let list = flows::list(&table, hash_key, &owners, &filter);
            drop(reply.send(list.map_err(|error| failed(&error))));
        });
    }

    /// Asks the kernel and answers beside the loop.
    fn answer_doctor(&self, reply: Reply<Vec<lb_common::api::Check>>) {
        let config = self.agent.config().clone();
        let (unresolved, elsewhere) = (self.unresolved(), self.agent.elsewhere().clone());
        let interfaces = self.datapath.interfaces().unwrap_or_default();
        let modes: BTreeMap<_, _> = interfaces.into_iter().map(|i| (i.name, i.mode)).collect();
        tokio::spawn(async move {
            let facts = doctor::gather(&config, &modes, unresolved, elsewhere).await;
            drop(reply.send(Ok(doctor::evaluate(&facts))));
        });
    }

    fn unresolved(&self) -> BTreeSet<IpAddr> {
        let backends = self.agent.installed().backends.values();
        let unresolved = backends.filter(|backend| backend.interface == 0);
        unresolved.filter_map(server).map(|server| server.ip()).collect()
    }

    /// What the overlay and the file on disk each differ in from the file as it was loaded.
    fn diff(&self) -> ConfigDiff {
        let loaded = self.agent.file();
        let file = match self.source.read() {
            Ok((_, on_disk)) => diff(loaded, &on_disk.config),
            Err(error) => {
                let reason = with_causes(&error);
                let lines = reason.lines().map(str::to_owned);
                std::iter::once("the file cannot be loaded:".to_owned()).chain(lines).collect()
            }
        };
        let mut overlay = diff(loaded, self.agent.config());
        overlay.extend(self.agent.overlay().firewall.set_lines());
        ConfigDiff { overlay, file }
    }

    /// The virtual routers are asked beside the loop.
    fn answer_metrics(&self, reply: Reply<Snapshot>) {
        let snapshot = self.metrics();
        let (asked, vrrp) = oneshot::channel();
        self.vrrp.status(asked);
        tokio::spawn(async move {
            let vrrp = vrrp.await.ok().and_then(Result::ok).unwrap_or_default();
            drop(reply.send(snapshot.map(|snapshot| Snapshot { vrrp, ..snapshot })));
        });
    }

    fn metrics(&self) -> Result<Snapshot, Failure> {
        let counters = self.counters()?;
        Ok(Snapshot {
            verdicts: by_verdict(&counters),
            services: self.services_with(&counters),
            firewall: Some(self.firewall()?),
            sets: self.set_list(),
            health: self.agent.health(clock::now()),
            health_changes: self.agent.checks().n_changes(),
            flows: self.flows.total,
            max_flows: self.agent.config().datapath.max_flows.into(),
            vrrp: VrrpStatus::default(),
            is_moving: self.datapath.is_moving(),
            flow_move: self.flow_move(),
            reloads: self.reloads,
            sync: self.sync_status(),
            floods: self.floods(),
        })
    }

    /// Ready once every target that is checked has been probed to an end and the ways to all are known or were
    /// waited for, for then it is known who serves. A target that is added later is not waited for: the others
    /// serve.
    fn ready(&self) -> Result<(), Failure> {
        let not_ready = |reason: String| Failure::new(StatusCode::SERVICE_UNAVAILABLE, reason);
        if let Some(fault) = self.faults.first_needed() {
            return Err(not_ready(fault));
        }
        if let Some(target) = self.agent.checks().first_without_result() {
            return Err(not_ready(format!("{target}: no probe has ended yet")));
        }
        self.agent.awaited().map_or(Ok(()), |address| {
            Err(not_ready(format!("the next hop to {address} is not known yet")))
        })
    }
}

/// That not all interfaces run the program in the same mode, and the remedy.
pub(super) fn mixed_modes(interfaces: &[Interface]) -> Option<String> {
    let modes = interfaces.iter().map(|i| (i.name.as_str(), i.mode.as_str()));
    let mixed = doctor::mixed_modes(&modes)?;
    Some(format!("{mixed}; {SAME_MODE}"))
}

fn by_verdict(counters: &Counters) -> Vec<VerdictCount> {
    let each = counters.verdicts.iter().map(|(verdict, count)| VerdictCount {
        verdict: verdict.name().into(),
        kind: verdict.kind().name().into(),
        help: verdict.help().into(),
        packets: count.packets,
        bytes: count.bytes,
    });
    each.collect()
}

fn failed(error: &DatapathError) -> Failure {
    Failure::internal(with_causes(error))
}
