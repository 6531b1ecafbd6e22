//! What the loop tells the threads of replication, and what they answer.

use hyper::StatusCode;
use lb_common::api::SyncStatus;

use super::StartError;
use super::runtime::Runtime;
use crate::io::clock;
use crate::io::message::Failure;
use crate::io::sync::{Directory, Opened, Replication};
use crate::model::sync::Services;
use crate::model::tables::Write;

impl Runtime {
    /// Begins to talk to other directors, where there are any.
    pub(super) fn start_replication(&mut self, opened: Option<Opened>) -> Result<(), StartError> {
        let Some(opened) = opened else { return Ok(()) };
        let config = self.agent.config();
        let (node, interfaces) = (config.agent.node.clone(), config.datapath.interfaces.clone());
        let started = Replication::start(opened, node, interfaces, self.directory());
        let replication = started.map_err(StartError::SyncThreads)?;
        self.vrrp.follow(replication.watch());
        self.replication = Some(replication);
        Ok(())
    }

    /// The flow table and the backends as they are now.
    fn directory(&self) -> Directory {
        let backends = self.agent.installed().backends.clone();
        let services = Services::of(&self.agent.config().services);
        Directory { table: self.datapath.flows(), backends, services }
    }

    /// Tells the threads of backends that were written.
    pub(super) fn publish_writes(&self, writes: &[Write]) {
        let is_news =
            |write: &Write| matches!(write, Write::Backend { .. } | Write::FreeBackend { .. });
        if writes.iter().any(is_news) {
            self.publish();
        }
    }

    /// Tells the threads of another flow table.
    pub(super) fn publish(&self) {
        if let Some(replication) = &self.replication {
            replication.publish(self.directory());
        }
    }

    /// What an operator should look at.
    pub(super) fn sync_warnings(&self) -> Vec<String> {
        let Some(replication) = &self.replication else { return Vec::new() };
        let hash_key = self.agent.installed().settings.hash_key;
        let notice = replication.key_notice(hash_key);
        replication.warnings().into_iter().chain(notice).collect()
    }

    pub(super) fn sync_status(&self) -> Option<SyncStatus> {
        self.replication.as_ref().map(|replication| replication.status(clock::now()))
    }

    /// The same for whoever asks for it.
    pub(super) fn answer_sync(&self) -> Result<SyncStatus, Failure> {
        self.sync_status().ok_or_else(|| {
            let error = "this director replicates its flows to no other";
            Failure::new(StatusCode::NOT_FOUND, error)
                .with_help("[sync] in the configuration names the others; it needs a restart")
        })
    }
}
