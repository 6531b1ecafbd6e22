//! Connections that are held open while something happens: half of them ask all the time, the others are idle and
//! are asked at the end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::clock::{now, wait_until};
use crate::http_server::{checksum, pattern};
use crate::namespace::Namespace;

const PAUSE: Duration = Duration::from_millis(100);
/// An answer has as many bytes: more than one packet.
const LENGTH: usize = 4_000;
/// A connection that is not answered for so long is broken. TCP doubles its waits.
const PATIENCE: Duration = Duration::from_secs(20);
const OPEN_WITHIN: Duration = Duration::from_secs(20);

/// What became of a connection.
#[derive(Clone, Debug)]
pub struct Fate {
    /// What broke it.
    pub problem: Option<String>,
    /// The longest time that it waited for an answer.
    pub longest_wait: Duration,
}

/// The connections.
#[derive(Debug)]
pub struct Held {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<Result<Vec<Fate>>>>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    n_open: AtomicUsize,
}

impl Held {
    /// Opens `n` connections from a namespace, and waits until each has been answered once.
    pub fn open(namespace: &Namespace, address: SocketAddr, n: usize) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        let thread = namespace.spawn(move || hold(address, n, &of_thread))?;
        let held = Self { shared, thread: Some(thread) };
        let are_open = || Ok(held.shared.n_open.load(Ordering::Relaxed) >= n);
        wait_until(&format!("{n} connections to be open"), OPEN_WITHIN, are_open)?;
        Ok(held)
    }

    /// Asks over each once more, and tells what became of them.
    pub fn stop(mut self) -> Result<Vec<Fate>> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("it is stopped once")?;
        thread.join().map_err(|_| anyhow!("the holder of connections has panicked"))??
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

fn hold(address: SocketAddr, n: usize, shared: &Arc<Shared>) -> Result<Vec<Fate>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut connections = JoinSet::new();
        for number in 0..n {
            let shared = Arc::clone(shared);
            connections.spawn(async move { live(address, number % 2 == 0, &shared).await });
        }
        Ok(connections.join_all().await)
    })
}

async fn live(address: SocketAddr, is_idle: bool, shared: &Shared) -> Fate {
    let mut fate = Fate { problem: None, longest_wait: Duration::ZERO };
    let ended = converse(address, is_idle, shared, &mut fate.longest_wait).await;
    fate.problem = ended.err().map(|error| format!("{error:#}"));
    fate
}

async fn converse(
    address: SocketAddr,
    is_idle: bool,
    shared: &Shared,
    longest: &mut Duration,
) -> Result<()> {
    let mut stream = BufReader::new(TcpStream::connect(address).await.context("connect")?);
    ask(&mut stream).await?;
    shared.n_open.fetch_add(1, Ordering::Relaxed);
    while !shared.stop.load(Ordering::Relaxed) {
        sleep(PAUSE).await;
        if !is_idle {
            let asked_at = now();
            ask(&mut stream).await?;
            *longest = (*longest).max(now() - asked_at);
        }
    }
    ask(&mut stream).await
}

async fn ask(stream: &mut BufReader<TcpStream>) -> Result<()> {
    let answered = timeout(PATIENCE, exchange(stream)).await;
    answered.with_context(|| format!("no answer within {PATIENCE:?}"))?
}

async fn exchange(stream: &mut BufReader<TcpStream>) -> Result<()> {
    let request = format!("GET /bytes/{LENGTH} HTTP/1.1\r\nHost: vip\r\n\r\n");
    stream.write_all(request.as_bytes()).await.context("ask")?;
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        let length = stream.read_line(&mut line).await.context("read the answer")?;
        ensure!(length > 0, "the connection was closed before the answer");
    }
    let mut body = vec![0; LENGTH];
    stream.read_exact(&mut body).await.context("read the body")?;
    ensure!(checksum(&body) == checksum(&pattern(LENGTH)), "the body was changed");
    Ok(())
}
