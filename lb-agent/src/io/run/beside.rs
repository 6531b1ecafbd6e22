//! What the loop hears, and how it goes on while something long is done beside it: questions are answered, probes
//! judged, the flow table swept. Changes wait for each other.

use std::future::pending;
use std::pin::{Pin, pin};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::runtime::Runtime;
use super::{SWEEP_EVERY, Turn, Ways};
use crate::io::clock;
use crate::io::message::{Call, Message};
use crate::io::notify;
use crate::model::agent::{Event, ProbeOutcome, Target};

/// All that the loop hears.
pub(super) struct Inputs {
    inbox: mpsc::Receiver<Message>,
    news: News,
    sweep: Interval,
    watchdog: Option<Interval>,
}

/// What comes in numbers: whatever of a kind has come by now is one event, and written at once.
pub(super) struct News {
    pub(super) ways: Ways,
    pub(super) ended: mpsc::Receiver<(Target, ProbeOutcome)>,
}

impl News {
    /// May be dropped before it is done, and nothing is lost.
    async fn next(&mut self) -> Event {
        tokio::select! {
            Some(first) = self.ways.recv() => {
                let rest = std::iter::from_fn(|| self.ways.try_recv().ok());
                Event::Ways(std::iter::once(first).chain(rest).collect())
            }
            Some(first) = self.ended.recv() => {
                let rest = std::iter::from_fn(|| self.ended.try_recv().ok());
                Event::Probes(std::iter::once(first).chain(rest).collect())
            }
            else => pending().await,
        }
    }
}

impl Inputs {
    pub(super) fn new(inbox: mpsc::Receiver<Message>, news: News) -> Self {
        let watchdog = notify::watchdog_interval().map(every);
        Self { inbox, news, sweep: every(SWEEP_EVERY), watchdog }
    }

    /// May be dropped before it is done, and nothing is lost.
    pub(super) async fn next(&mut self) -> Turn {
        tokio::select! {
            message = self.inbox.recv() => Turn::Message(message.unwrap_or(Message::Stop)),
            event = self.news.next() => Turn::Event(event),
            _ = self.sweep.tick() => Turn::Sweep,
            () = next(&mut self.watchdog) => Turn::Alive,
        }
    }

    /// Messages that have come by now.
    pub(super) fn rest(&mut self) -> Vec<Message> {
        std::iter::from_fn(|| self.inbox.try_recv().ok()).collect()
    }
}

impl Message {
    /// Whether it is a change of what runs, or needs to know what comes of one that is being made.
    pub(super) fn waits_for_changes(&self) -> bool {
        match self {
            Self::Call(call) => matches!(
                call,
                Call::Apply(..)
                    | Call::Check(..)
                    | Call::Confirm(_)
                    | Call::Reload(..)
                    | Call::Change(..)
            ),
            Self::SetRead(_) | Self::Hangup | Self::Stop => true,
            Self::Swept(_)
            | Self::Resized(_)
            | Self::CookiesLoaded(_)
            | Self::Compiled(_)
            | Self::NotProbed(..)
            | Self::LinkChanged
            | Self::Vrrp(_) => false,
        }
    }
}

impl Runtime {
    /// Waits for something that is done beside the loop, which goes on. The state of the agent may be another one then.
    pub(super) async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        let before = self.changing_since;
        self.changing_since = before.or_else(|| Some(clock::now()));
        let done = loop {
            let next = tokio::select! {
                done = &mut work => break done,
                next = self.next() => next,
            };
            let taken: Pin<Box<dyn Future<Output = ()> + '_>> = Box::pin(self.take(next));
            taken.await;
        };
        self.changing_since = before;
        done
    }

    /// Keeps a message until the change that is being made has ended. The end of the agent comes before other changes.
    pub(super) fn defer(&mut self, message: Message) {
        if matches!(message, Message::Stop) {
            self.deferred.push_front(message);
        } else {
            self.deferred.push_back(message);
        }
    }
}

pub(super) fn every(period: Duration) -> Interval {
    let mut interval = interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

pub(super) async fn next(interval: &mut Option<Interval>) {
    match interval {
        Some(interval) => drop(interval.tick().await),
        None => pending().await,
    }
}
