//! A server that speaks first, as those of SMTP and MySQL do, and then gives back what it is sent.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::clock::pause;
use crate::world::Host;

/// Between two looks for a client.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Servers on both addresses of a host; they end when this is dropped.
#[derive(Debug)]
pub struct Greeter {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Greeter {
    /// Starts to serve on `port`, with the host's name as the greeting.
    pub fn start(host: &Host, port: u16) -> Result<Self> {
        let mut greeter = Self { stop: Arc::default(), threads: Vec::new() };
        for address in host.at(port) {
            let listener = host.namespace.enter(|| TcpListener::bind(address))?;
            let listener = listener.with_context(|| format!("listen on {address}"))?;
            listener.set_nonblocking(true).context("accept without waiting")?;
            let (stop, name) = (Arc::clone(&greeter.stop), host.name.clone());
            greeter.threads.push(std::thread::spawn(move || accept(&listener, &name, &stop)));
        }
        Ok(greeter)
    }
}

impl Drop for Greeter {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                eprintln!("a greeter has panicked");
            }
        }
    }
}

fn accept(listener: &TcpListener, name: &str, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, _)) => {
                let name = name.to_owned();
                // It ends with its client, whose fault an error is.
                std::thread::spawn(move || serve(stream, &name).ok());
            }
            Err(_) => pause(LOOK_EVERY),
        }
    }
}

fn serve(mut stream: TcpStream, name: &str) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.write_all(format!("220 {name}\r\n").as_bytes())?;
    let mut buffer = [0; 16_384];
    loop {
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        stream.write_all(buffer.get(..length).unwrap_or_default())?;
    }
}

/// Connects, reads the greeting, and sends `words`, which come back; returns the greeting. It acts in the namespace
/// of the calling thread.
pub fn converse(server: SocketAddr, words: &[u8], timeout: Duration) -> Result<String> {
    let stream = TcpStream::connect_timeout(&server, timeout)
        .with_context(|| format!("connect to {server}"))?;
    stream.set_read_timeout(Some(timeout)).context("set the timeout for reading")?;
    let mut stream = BufReader::new(stream);
    let mut greeting = String::new();
    stream.read_line(&mut greeting).context("read the greeting")?;
    stream.get_mut().write_all(words).context("speak")?;
    let mut echo = vec![0; words.len()];
    stream.read_exact(&mut echo).context("read the echo")?;
    anyhow::ensure!(echo == words, "the echo was changed");
    Ok(greeting.trim_end().to_owned())
}
