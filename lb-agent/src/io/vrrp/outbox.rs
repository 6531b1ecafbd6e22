//! What the core loop is told. The thread of the virtual routers waits for nobody, so what a busy loop has no room for
//! is kept, in order, and told later.

use std::collections::VecDeque;

use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;

use super::Told;
use crate::io::message::Message;

/// More that waits is not told; `lb-ctl vrrp history` has it all the same.
const LONGEST: usize = 1_000;

/// See above.
#[derive(Debug)]
pub(super) struct Outbox {
    core: Sender<Message>,
    waiting: VecDeque<Told>,
}

impl Outbox {
    pub(super) fn new(core: Sender<Message>) -> Self {
        Self { core, waiting: VecDeque::new() }
    }

    pub(super) fn tell(&mut self, told: Told) {
        if self.waiting.len() < LONGEST {
            self.waiting.push_back(told);
        }
        self.tell_again();
    }

    /// Tells what there is room for by now.
    pub(super) fn tell_again(&mut self) {
        while let Some(told) = self.waiting.pop_front() {
            if let Err(TrySendError::Full(Message::Vrrp(told))) =
                self.core.try_send(Message::Vrrp(told))
            {
                self.waiting.push_front(told);
                return;
            }
        }
    }

    /// Whether [`Outbox::tell_again`] has anything to do.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Waits until all is told, or nobody listens any more.
    pub(super) fn close(self) {
        for told in self.waiting {
            if self.core.blocking_send(Message::Vrrp(told)).is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::{Receiver, channel};

    use super::*;

    fn heard(inbox: &mut Receiver<Message>) -> Vec<String> {
        let messages = std::iter::from_fn(|| inbox.try_recv().ok());
        let words = messages.map(|message| match message {
            Message::Vrrp(Told::Warning(word)) => word,
            other => panic!("{other:?}"),
        });
        words.collect()
    }

    #[test]
    fn what_the_loop_has_no_room_for_is_told_later_in_order() {
        let (core, mut inbox) = channel(2);
        let mut outbox = Outbox::new(core);
        for word in ["a", "b", "c", "d", "e"] {
            outbox.tell(Told::Warning(word.to_owned()));
        }
        assert_eq!(heard(&mut inbox), ["a", "b"]);
        assert!(outbox.is_waiting());
        outbox.tell_again();
        assert_eq!(heard(&mut inbox), ["c", "d"]);
        outbox.close();
        assert_eq!(heard(&mut inbox), ["e"]);
    }

    #[test]
    fn what_waits_is_bounded_and_nobody_who_listens_is_no_obstacle() {
        let (core, inbox) = channel(1);
        let mut outbox = Outbox::new(core);
        (0..2 * LONGEST).for_each(|_| outbox.tell(Told::Warning(String::new())));
        assert_eq!(outbox.waiting.len(), LONGEST);
        drop(inbox);
        outbox.tell_again();
        assert!(!outbox.is_waiting());
    }
}
