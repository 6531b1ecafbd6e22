//! Steady requests from a namespace, each over a new connection, while something else happens.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, anyhow};

use crate::clock::{pause, wait_until};
use crate::http_client::{Exchange, ask_name};
use crate::namespace::Namespace;

/// After which a request has failed: long enough for lost packets to be sent again.
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// Sends `n` requests to the addresses in turn, one after the other, each over a new connection.
pub fn send_in_turn(
    namespace: &Namespace,
    addresses: &[SocketAddr],
    n: usize,
) -> Result<Vec<Exchange>> {
    namespace.enter(|| {
        addresses.iter().cycle().take(n).map(|address| ask_name(*address, TIMEOUT)).collect()
    })
}

/// Counts answers by backend; failures are left out.
pub fn by_backend<'a>(
    exchanges: impl IntoIterator<Item = &'a Exchange>,
) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for name in exchanges.into_iter().filter_map(|exchange| exchange.outcome.as_ref().ok()) {
        *counts.entry(name.clone()).or_default() += 1;
    }
    counts
}

/// What went wrong, an error each.
pub fn failures(exchanges: &[Exchange]) -> Vec<&String> {
    exchanges.iter().filter_map(|exchange| exchange.outcome.as_ref().err()).collect()
}

const MORE_WITHIN: Duration = Duration::from_mins(1);

/// From the end of one request of a sender to the start of its next.
const PAUSE: Duration = Duration::from_millis(2);

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
    pub fn start(namespace: &Namespace, addresses: &[SocketAddr]) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let start_sender = |address: &SocketAddr| {
            let (address, shared) = (*address, Arc::clone(&shared));
            namespace.spawn(move || send(address, &shared))
        };
        let senders = addresses.iter().map(start_sender).collect::<Result<_>>()?;
        Ok(Self { shared, senders })
    }

    /// Requests that have ended.
    pub fn n_sent(&self) -> usize {
        self.shared.sent.load(Ordering::Relaxed)
    }

    /// Waits until `n` more requests have ended.
    pub fn wait_for_more(&self, n: usize) -> Result<()> {
        let goal = self.n_sent() + n;
        wait_until(&format!("{n} more requests"), MORE_WITHIN, || Ok(self.n_sent() >= goal))
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

fn send(address: SocketAddr, shared: &Shared) -> Vec<Exchange> {
    let mut exchanges = Vec::new();
    while !shared.stop.load(Ordering::Relaxed) {
        exchanges.push(ask_name(address, TIMEOUT));
        shared.sent.fetch_add(1, Ordering::Relaxed);
        pause(PAUSE);
    }
    exchanges
}
