//! Signals as messages: SIGHUP reloads, SIGTERM and SIGINT stop.

use std::io;

use nix::sys::signal::{SigSet, Signal};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::io::message::Message;

/// Sends a message for each signal from now on.
pub(super) fn forward(messages: &mpsc::Sender<Message>) -> io::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let heard = [Signal::SIGHUP, Signal::SIGTERM, Signal::SIGINT];
    // A process inherits the signals that its parent's thread blocks, and would not hear them.
    heard.into_iter().collect::<SigSet>().thread_unblock()?;
    let messages = messages.clone();
    tokio::spawn(async move {
        loop {
            let message = tokio::select! {
                _ = hangup.recv() => Message::Hangup,
                _ = terminate.recv() => Message::Stop,
                _ = interrupt.recv() => Message::Stop,
            };
            if messages.send(message).await.is_err() {
                return;
            }
        }
    });
    Ok(())
}
