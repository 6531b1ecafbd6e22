//! Single packets: samples of those that were dropped, and one that is made to be explained.
//!
//! Samples are taken while somebody asks for them, and the latest are kept so that several may.

use std::collections::VecDeque;
use std::time::Duration;

use lb_common::api::{DropSamples, DroppedPacket, Explanation, MadePacket};
use lb_common::layout::Sample;

use super::faults::Act;
use super::runtime::Runtime;
use crate::io::causes::with_causes;
use crate::io::clock;
use crate::io::datapath::Drops;
use crate::io::frame::frame;
use crate::io::message::{Call, Core, Failure, Reply};
use crate::io::netlink::{Link, links};
use crate::model::made;

const SAMPLES: Act = Act::dispensable("end the samples of dropped packets");

/// How long samples are taken after somebody has asked.
const LEASE: Duration = Duration::from_secs(5);
/// Samples that are kept.
const KEPT: usize = 10_000;

/// The latest samples.
#[derive(Default)]
pub(super) struct DropLog {
    /// Opened when somebody asks for the first time.
    reader: Option<Drops>,
    kept: VecDeque<DroppedPacket>,
    /// Samples so far.
    n_taken: u64,
}

impl DropLog {
    fn push(&mut self, packet: DroppedPacket) {
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(packet);
        self.n_taken += 1;
    }

    /// Those after the first so many; without a number none.
    fn after(&self, after: Option<u64>) -> DropSamples {
        let n_kept = u64::try_from(self.kept.len()).unwrap_or(u64::MAX);
        // A number of the agent before this one is none of ours.
        let after = after.filter(|after| *after <= self.n_taken).unwrap_or(self.n_taken);
        let first_kept = self.n_taken - n_kept;
        let skipped = usize::try_from(after.saturating_sub(first_kept)).unwrap_or(usize::MAX);
        DropSamples {
            next: self.n_taken,
            missed: first_kept.saturating_sub(after),
            packets: self.kept.iter().skip(skipped).cloned().collect(),
        }
    }
}

impl Runtime {
    /// Has no samples taken that nobody reads. The agent before this one may have begun.
    pub(super) fn look_at_drops(&mut self) {
        let stopped = match &mut self.drop_log.reader {
            Some(reader) => reader.stop_if_over(),
            None if self.sweeps == 1 => self.datapath.drops().and_then(|mut drops| drops.stop()),
            None => return,
        };
        self.faults.note(SAMPLES, stopped.map_err(|error| with_causes(&error)));
    }

    pub(super) fn drop_samples(&mut self, after: Option<u64>) -> Result<DropSamples, Failure> {
        let internal = |error| Failure::internal(with_causes(&error));
        let mut reader = match self.drop_log.reader.take() {
            Some(reader) => reader,
            None => self.datapath.drops().map_err(internal)?,
        };
        reader.renew(LEASE).map_err(internal)?;
        let present = links().unwrap_or_default();
        let rules = self.agent.rule_names();
        while let Some(sample) = reader.take() {
            let (interface, at) = (name_of(&present, sample.interface), unix_ms(sample.time));
            if let Some(packet) = self.agent.dropped(&sample, &rules, interface, at) {
                self.drop_log.push(packet);
            }
        }
        self.drop_log.reader = Some(reader);
        Ok(self.drop_log.after(after))
    }

    /// Makes the packet and runs it beside the loop; what comes of it is told with the names of then.
    pub(super) fn answer_explain(&self, asked: &MadePacket, reply: Reply<Explanation>) {
        let (frame, link) = match self.made(asked) {
            Ok(made) => made,
            Err(failure) => return drop(reply.send(Err(failure))),
        };
        let (work, core) = (self.datapath.explainer(), Core::new(self.messages.clone()));
        tokio::spawn(async move {
            let index = link.index;
            let explained = tokio::task::spawn_blocking(move || work.explain(&frame, index));
            let sample = match explained.await {
                Ok(Ok(sample)) => sample,
                Ok(Err(error)) => {
                    return drop(reply.send(Err(Failure::internal(with_causes(&error)))));
                }
                Err(error) => return drop(reply.send(Err(Failure::internal(error)))),
            };
            let told = core.ask(|reply| Call::Explained(Box::new(sample), link.name, reply)).await;
            drop(reply.send(told));
        });
    }

    fn made(&self, asked: &MadePacket) -> Result<(Vec<u8>, Link), Failure> {
        let made = made::read(asked)?;
        let interfaces = &self.agent.config().datapath.interfaces;
        let name = asked.interface.as_ref().or(interfaces.first()).cloned().unwrap_or_default();
        if !interfaces.contains(&name) {
            let names = interfaces.join(", ");
            let error = format!("{name} is not one of the interfaces in [datapath]: {names}");
            return Err(Failure::invalid(error));
        }
        let present = links().map_err(Failure::internal)?;
        let link = present.into_iter().find(|link| link.name == name);
        let link = link.ok_or_else(|| Failure::internal(format!("{name} does not exist now")))?;
        let frame = frame(&made, link.mac.unwrap_or_default());
        Ok((frame.map_err(Failure::internal)?, link))
    }

    pub(super) fn explained(
        &self,
        sample: &Sample,
        interface: String,
    ) -> Result<Explanation, Failure> {
        let explained = self.agent.explained(sample, interface);
        explained.ok_or_else(|| Failure::internal("the packet path has not told what it would do"))
    }
}

fn name_of(links: &[Link], index: u32) -> String {
    let found = links.iter().find(|link| link.index == index);
    found.map_or_else(|| format!("interface {index}"), |link| link.name.clone())
}

/// The date of a reading of the packet path's clock.
fn unix_ms(time: u64) -> u64 {
    let age = clock::coarse().saturating_sub(Duration::from_nanos(time));
    u64::try_from(clock::unix().saturating_sub(age).as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(n: u64) -> DroppedPacket {
        DroppedPacket {
            at_unix_ms: n,
            verdict: "malformed".into(),
            rule: None,
            service: None,
            interface: "eth0".into(),
            protocol: "tcp".into(),
            source: [10, 0, 0, 1].into(),
            source_port: None,
            destination: [10, 0, 0, 2].into(),
            destination_port: None,
            length: 60,
        }
    }

    fn numbers(samples: &DropSamples) -> Vec<u64> {
        samples.packets.iter().map(|packet| packet.at_unix_ms).collect()
    }

    #[test]
    fn each_who_asks_gets_what_came_since() {
        let mut log = DropLog::default();
        (0..3).for_each(|n| log.push(packet(n)));
        let first = log.after(None);
        assert_eq!((first.next, first.packets.len()), (3, 0));
        log.push(packet(3));
        assert_eq!(numbers(&log.after(Some(3))), [3]);
        assert_eq!(numbers(&log.after(Some(1))), [1, 2, 3]);
        assert_eq!(numbers(&log.after(Some(4))), Vec::<u64>::new());
        assert_eq!((log.after(Some(99)).next, log.after(Some(99)).missed), (4, 0));
    }

    #[test]
    fn what_is_gone_is_counted() {
        let mut log = DropLog::default();
        let n_all = u64::try_from(KEPT).unwrap() + 10;
        (0..n_all).for_each(|n| log.push(packet(n)));
        let samples = log.after(Some(4));
        assert_eq!((samples.missed, samples.packets.len(), samples.next), (6, KEPT, n_all));
        assert_eq!(samples.packets[0].at_unix_ms, 10);
    }
}
