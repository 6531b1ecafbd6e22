//! The size of the flow table follows the configuration, while packets pass.

use lb_common::api::FlowMove;

use super::faults::Act;
use super::packet_log;
use super::runtime::Runtime;
use crate::io::causes::with_causes;
use crate::io::datapath::{DatapathError, FlowCounts, Prepared};
use crate::io::message::Message;

const RESIZE: Act = Act::dispensable("give the flow table its size");

impl Runtime {
    /// Begins to make another flow table, if the configuration wants one and none is being made.
    pub(super) fn look_at_size(&mut self) {
        let max_flows = self.agent.config().datapath.max_flows;
        let resize = match self.datapath.resize(max_flows, self.flows.total) {
            Ok(Some(resize)) => resize,
            Ok(None) => return self.faults.note(RESIZE, Ok(())),
            Err(error) => return self.faults.note(RESIZE, Err(with_causes(&error))),
        };
        tracing::info!("the flow table is being made anew for {max_flows} flows");
        let messages = self.messages.clone();
        tokio::task::spawn_blocking(move || {
            let prepared = resize.prepare().map(Box::new).map_err(|error| with_causes(&error));
            // It fails when the agent is stopping, and then nobody wants to know.
            drop(messages.blocking_send(Message::Resized(prepared)));
        });
    }

    /// The new table is there: packets use it from now on.
    pub(super) async fn resized(&mut self, prepared: Result<Box<Prepared>, String>) {
        match prepared {
            Ok(prepared) => {
                let switched = self.datapath.switch(*prepared);
                self.size_changed(switched).await;
            }
            Err(reason) => {
                self.datapath.give_up_resize();
                self.faults.note(RESIZE, Err(reason));
            }
        }
    }

    /// Ends a move when a sweep has found nothing left to move.
    pub(super) async fn follow_move(&mut self, counts: &FlowCounts) {
        if counts.old == Some(0) && self.datapath.is_moving() {
            let finished = self.datapath.finish();
            if finished.is_ok() {
                tracing::info!("all flows are in the new flow table");
            }
            self.size_changed(finished).await;
        }
    }

    /// The core learns from the maps which table they tell of now.
    async fn size_changed(&mut self, changed: Result<(), DatapathError>) {
        self.faults.note(RESIZE, changed.map_err(|error| with_causes(&error)));
        packet_log::forward(&self.datapath);
        self.publish();
        self.write_anew().await;
    }

    /// How far a move has come; `None`: there is none, or no sweep has looked at all of it yet.
    pub(super) fn flow_move(&self) -> Option<FlowMove> {
        let cells_left = self.flows.old.filter(|_| self.datapath.is_moving())?;
        Some(FlowMove { cells_left, cells: self.flows.cells.values().sum() })
    }

    /// What is to be said of maps that are being made, or of a move under way.
    pub(super) fn move_notice(&self) -> Option<String> {
        if self.datapath.is_preparing() {
            return Some("maps of another size are being made".to_owned());
        }
        self.datapath.is_moving().then(|| {
            let left = self
                .flows
                .old
                .map_or_else(String::new, |n| format!(": {n} cells in the last second"));
            format!("flows are being moved to another flow table{left}")
        })
    }
}
