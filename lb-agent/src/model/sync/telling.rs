//! What a teller knows of how far its peer has come.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::wire::Message;

/// Time between two marks when nothing is told.
const MARK_EVERY: Duration = Duration::from_millis(100);
/// Shortest time between two marks.
const MARK_AFTER: Duration = Duration::from_millis(2);
/// A peer that lags by more does not know every cell, whatever it was told: it hears so with the next mark.
const IN_STEP_WITHIN: Duration = Duration::from_millis(150);
/// A peer that has seen no mark for so long is gone.
const PATIENCE: Duration = Duration::from_secs(3);
/// Marks that may be on their way. More are not sent: what is told meanwhile has the next one.
const MOST_MARKS: usize = 64;

/// The marks of one connection.
#[derive(Debug)]
pub struct Telling {
    number: u64,
    marked_at: Instant,
    /// Marks that were not seen yet, and when they were sent.
    unseen: VecDeque<(u64, Instant)>,
    /// Since when cells that were told have no mark.
    unmarked_since: Option<Instant>,
    whole_since: Option<u64>,
    seen: u64,
    seen_at: Instant,
}

impl Telling {
    /// Nothing is told yet.
    pub fn new(now: Instant) -> Self {
        Self {
            number: 0,
            marked_at: now,
            unseen: VecDeque::new(),
            unmarked_since: None,
            whole_since: None,
            seen: 0,
            seen_at: now,
        }
    }

    /// Cells are being told.
    pub fn told(&mut self, now: Instant) {
        self.unmarked_since.get_or_insert(now);
    }

    /// Every cell has been told, or is to be told once more.
    pub fn set_whole(&mut self, is_whole: bool) {
        let next = self.number + 1;
        self.whole_since = is_whole.then(|| self.whole_since.unwrap_or(next));
    }

    /// The mark that is to be sent now, if one is.
    pub fn mark(&mut self, now: Instant) -> Option<Message> {
        let pause = if self.unmarked_since.is_some() { MARK_AFTER } else { MARK_EVERY };
        let is_early = now.saturating_duration_since(self.marked_at) < pause;
        if self.unseen.len() >= MOST_MARKS || is_early {
            return None;
        }
        self.number += 1;
        self.marked_at = now;
        let since = self.unmarked_since.take().unwrap_or(now);
        self.unseen.push_back((self.number, since));
        let is_whole = self.whole_since.is_some() && self.lag(now) < IN_STEP_WITHIN;
        Some(Message::Mark { number: self.number, is_whole })
    }

    /// The peer has taken in all up to a mark. One that was never sent says nothing.
    pub fn seen(&mut self, number: u64, now: Instant) {
        if number <= self.number {
            self.seen_at = now;
            self.seen = self.seen.max(number);
            self.unseen.retain(|(unseen, _)| *unseen > number);
        }
    }

    /// How long ago the oldest was told that the peer has not taken in.
    pub fn lag(&self, now: Instant) -> Duration {
        let oldest = self.unseen.front().map(|(_, since)| *since).or(self.unmarked_since);
        oldest.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// Whether the peer is not heard any more. It may lag for longer, as long as it comes on.
    pub fn is_lost(&self, now: Instant) -> bool {
        let last = self.unseen.front().map(|(_, since)| self.seen_at.max(*since));
        last.is_some_and(|last| now.saturating_duration_since(last) > PATIENCE)
    }

    /// Whether the peer has every cell.
    pub fn is_whole(&self) -> bool {
        self.whole_since.is_some_and(|number| self.seen >= number)
    }
}
