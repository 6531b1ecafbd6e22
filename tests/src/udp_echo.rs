//! A UDP server that answers with its name and what it was sent, and a client for it.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::world::Host;

/// Between two looks at whether to stop.
const LOOK_EVERY: Duration = Duration::from_millis(20);
const LONGEST: usize = 65_535;

/// Servers on both addresses of a host; they end when this is dropped.
#[derive(Debug)]
pub struct UdpEcho {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl UdpEcho {
    /// Starts to serve on `port`.
    pub fn start(host: &Host, port: u16) -> Result<Self> {
        Self::start_on(host, &host.at(port))
    }

    /// The same at other addresses of the host.
    pub fn start_on(host: &Host, listen: &[SocketAddr]) -> Result<Self> {
        let mut echo = Self { stop: Arc::default(), threads: Vec::new() };
        for address in listen {
            let socket = host.namespace.enter(|| UdpSocket::bind(address))?;
            let socket = socket.with_context(|| format!("bind to {address}"))?;
            let (stop, name) = (Arc::clone(&echo.stop), host.name.clone());
            echo.threads.push(std::thread::spawn(move || serve(&socket, &name, &stop)));
        }
        Ok(echo)
    }
}

impl Drop for UdpEcho {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            if let Ok(Err(error)) = thread.join() {
                eprintln!("{error:#}");
            }
        }
    }
}

fn serve(socket: &UdpSocket, name: &str, stop: &AtomicBool) -> Result<()> {
    socket.set_read_timeout(Some(LOOK_EVERY)).context("set the timeout for reading")?;
    let mut buffer = vec![0; LONGEST];
    while !stop.load(Ordering::Relaxed) {
        // An error is the timeout, or an ICMP error about an answer that nobody waits for.
        if let Ok((length, client)) = socket.recv_from(&mut buffer)
            && let Some(received) = buffer.get(..length)
        {
            socket.send_to(&[name.as_bytes(), b" ", received].concat(), client).ok();
        }
    }
    Ok(())
}

/// A client's socket, connected to `server`; it acts in the namespace of the calling thread.
pub fn connect(server: SocketAddr, timeout: Duration) -> Result<UdpSocket> {
    let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).context("open a UDP socket")?;
    socket.connect(server).with_context(|| format!("connect to {server}"))?;
    socket.set_read_timeout(Some(timeout)).context("set the timeout for reading")?;
    Ok(socket)
}

/// Sends `question` and returns the name of whoever answered, and the question as it came back.
pub fn ask(socket: &UdpSocket, question: &[u8]) -> Result<(String, Vec<u8>)> {
    socket.send(question).context("send a datagram")?;
    let mut buffer = vec![0; LONGEST];
    let length = socket.recv(&mut buffer).context("receive a datagram")?;
    let answer = buffer.get(..length).context("read the answer")?;
    let end = answer.iter().position(|byte| *byte == b' ').context("find the server's name")?;
    let (name, echoed) = answer.split_at(end);
    Ok((String::from_utf8_lossy(name).into_owned(), echoed.get(1..).unwrap_or_default().to_vec()))
}
