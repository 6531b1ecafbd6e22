//! Signals as messages: SIGHUP reloads, SIGTERM and SIGINT stop.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::io::message::Message;

/// Sends a message for each signal from now on.
pub(super) fn forward(messages: &mpsc::Sender<Message>) -> io::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
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
