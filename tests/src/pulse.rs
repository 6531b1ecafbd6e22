//! Requests at a steady pace, each over a connection of its own, whatever becomes of those before it: for how long a
//! client finds nobody, or how many find somebody.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::clock::{now, wait_until};
use crate::namespace::Namespace;

const MORE_WITHIN: Duration = Duration::from_mins(1);
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: vip\r\nConnection: close\r\n\r\n";

/// From one request to the next, and after which time one counts as not answered.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// From one to the next.
    pub every: Duration,
    /// For how long one waits.
    pub patience: Duration,
}

/// A request every millisecond, which has to be answered before TCP sends anything again (200 ms), so that what is
/// measured is the service and not the patience of TCP.
pub const BEFORE_TCP_ASKS_AGAIN: Pace =
    Pace { every: Duration::from_millis(1), patience: Duration::from_millis(190) };

/// One request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beat {
    /// When it began.
    pub at: Instant,
    /// Until it was answered, or given up.
    pub took: Duration,
    /// Whether it was answered in time.
    pub is_answered: bool,
}

/// Requests that go on until they are stopped.
#[derive(Debug)]
pub struct Pulse {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<Result<Vec<Beat>>>>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    answered: AtomicUsize,
}

impl Pulse {
    /// Starts to ask `address` from a namespace.
    pub fn start(namespace: &Namespace, address: SocketAddr, pace: Pace) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        let thread = namespace.spawn(move || beat(address, pace, &of_thread))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Waits until `n` more requests have been answered in time.
    pub fn wait_for_more(&self, n: usize) -> Result<()> {
        let answered = || self.shared.answered.load(Ordering::Relaxed);
        let goal = answered() + n;
        wait_until(&format!("{n} more answers in time"), MORE_WITHIN, || Ok(answered() >= goal))
    }

    /// Sends no more requests; those that were sent go on.
    pub fn ask_no_more(&self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }

    /// Stops, and tells what became of the requests, in the order of their start.
    pub fn stop(mut self) -> Result<Vec<Beat>> {
        self.ask_no_more();
        let thread = self.thread.take().context("it is stopped once")?;
        let mut beats = thread.join().map_err(|_| anyhow!("the pulse has panicked"))???;
        beats.sort_by_key(|beat| beat.at);
        Ok(beats)
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.ask_no_more();
    }
}

/// The longest time from a request that was not answered to the next one that was: how long a client has found
/// nobody.
pub fn longest_silence(beats: &[Beat]) -> Duration {
    let mut longest = Duration::ZERO;
    let mut since = None;
    for beat in beats {
        if beat.is_answered {
            let silence = since.take().map(|since| beat.at - since);
            longest = longest.max(silence.unwrap_or_default());
        } else {
            since.get_or_insert(beat.at);
        }
    }
    // Nobody has answered since.
    let last = beats.last().zip(since).map(|(last, since)| last.at - since);
    longest.max(last.unwrap_or_default())
}

fn beat(address: SocketAddr, pace: Pace, shared: &Arc<Shared>) -> Result<Vec<Beat>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut ticks = interval(pace.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut requests = JoinSet::new();
        let mut beats = Vec::new();
        while !shared.stop.load(Ordering::Relaxed) {
            ticks.tick().await;
            let shared = Arc::clone(shared);
            requests.spawn(async move {
                let at = now();
                let answer = timeout(pace.patience, ask(address)).await;
                let is_answered = answer.is_ok_and(|it| it.is_ok());
                shared.answered.fetch_add(usize::from(is_answered), Ordering::Relaxed);
                Beat { at, took: now() - at, is_answered }
            });
            while let Some(ended) = requests.try_join_next() {
                beats.push(ended?);
            }
        }
        beats.extend(requests.join_all().await);
        Ok(beats)
    })
}

async fn ask(address: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(REQUEST).await?;
    let mut answer = Vec::new();
    // The server closes, and waits for late packets at its port, of which it has more than the client.
    stream.read_to_end(&mut answer).await?;
    anyhow::ensure!(answer.starts_with(b"HTTP/1.1 200"), "another answer");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_millis(1);

    fn silence(answered: &[bool]) -> Duration {
        let start = now();
        let beat = |(n, is_answered): (u32, &bool)| Beat {
            at: start + EVERY * n,
            took: EVERY,
            is_answered: *is_answered,
        };
        longest_silence(&(0..).zip(answered).map(beat).collect::<Vec<_>>())
    }

    #[test]
    fn silence_lasts_from_a_request_without_an_answer_to_the_next_with_one() {
        let (yes, no) = (true, false);
        assert_eq!(silence(&[]), Duration::ZERO);
        assert_eq!(silence(&[yes, yes, yes]), Duration::ZERO);
        assert_eq!(silence(&[yes, no, yes, no, no, no, yes, no, yes]), EVERY * 3);
        assert_eq!(silence(&[yes, no, yes, no, no, no]), EVERY * 2);
    }
}
