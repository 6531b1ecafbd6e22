//! Steady requests from a namespace, each over a new connection, while something else happens.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, anyhow};

use crate::clock::{pause, wait_until};
use crate::http_client::{Exchange, ask_name};
use crate::namespace::Namespace;

/// How a load is sent.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// From the end of one request to the start of the next, for each address.
    pub pause: Duration,
    /// After which a request has failed.
    pub timeout: Duration,
}

/// Requests that go on until they are stopped: one sender for each address.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    senders: Vec<JoinHandle<Result<Vec<Exchange>>>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    sent: AtomicUsize,
}

impl Load {
    /// Starts to send to all of `addresses`.
    pub fn start(namespace: &Namespace, addresses: &[SocketAddr], pace: Pace) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let start_sender = |address: &SocketAddr| {
            let (address, shared) = (*address, Arc::clone(&shared));
            namespace.spawn(move || send(address, pace, &shared))
        };
        let senders = addresses.iter().map(start_sender).collect::<Result<_>>()?;
        Ok(Self { shared, senders })
    }

    /// Requests that have ended.
    pub fn n_sent(&self) -> usize {
        self.shared.sent.load(Ordering::Relaxed)
    }

    /// Waits until `n` more requests have ended.
    pub fn wait_for_more(&self, n: usize, within: Duration) -> Result<()> {
        let goal = self.n_sent() + n;
        wait_until(&format!("{n} more requests"), within, || Ok(self.n_sent() >= goal))
    }

    /// Stops, and tells what became of the requests, in the order of their start.
    pub fn stop(mut self) -> Result<Vec<Exchange>> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for sender in self.senders.drain(..) {
            all.extend(sender.join().map_err(|_| anyhow!("a sender of requests panicked"))??);
        }
        all.sort_by_key(|exchange| exchange.started_at);
        Ok(all)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

fn send(address: SocketAddr, pace: Pace, shared: &Shared) -> Vec<Exchange> {
    let mut exchanges = Vec::new();
    while !shared.stop.load(Ordering::Relaxed) {
        exchanges.push(ask_name(address, pace.timeout));
        shared.sent.fetch_add(1, Ordering::Relaxed);
        pause(pace.pause);
    }
    exchanges
}
