//! An HTTP/1.1 client over blocking sockets: one connection for each request, or one kept open.
//!
//! It acts in the network namespace of the calling thread; see [`Namespace::enter`](crate::namespace::Namespace::enter).

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use socket2::{Domain, Socket, Type};

use crate::clock::now;

/// One request and what became of it.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// Before the connection was opened.
    pub started_at: Instant,
    /// When the answer was complete, or it was clear that none would be.
    pub ended_at: Instant,
    /// Who answered, or what went wrong.
    pub outcome: Result<String, String>,
}

impl Exchange {
    /// How long it took.
    pub fn took(&self) -> Duration {
        self.ended_at - self.started_at
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// The server's name from `x-backend`; empty where it gave none.
    pub backend: String,
    /// The body.
    pub body: Vec<u8>,
}

/// An open connection.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<TcpStream>,
    host: SocketAddr,
}

impl Connection {
    /// Connects; each later wait for the peer is bounded by `timeout` too.
    pub fn open(address: SocketAddr, timeout: Duration) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, timeout)
            .with_context(|| format!("connect to {address}"))?;
        Self::over(stream, address, timeout)
    }

    /// Connects from a port of the client's choice, which other connections may use too.
    pub fn open_from(port: u16, address: SocketAddr, timeout: Duration) -> Result<Self> {
        let any: SocketAddr = if address.is_ipv4() {
            (Ipv4Addr::UNSPECIFIED, port).into()
        } else {
            (Ipv6Addr::UNSPECIFIED, port).into()
        };
        Self::open_prepared(address, timeout, |socket| {
            socket.set_reuse_address(true)?;
            socket.bind(&any.into())
        })
    }

    /// Connects from one of the client's addresses.
    pub fn open_at(source: IpAddr, address: SocketAddr, timeout: Duration) -> Result<Self> {
        Self::open_prepared(address, timeout, |socket| {
            socket.bind(&SocketAddr::new(source, 0).into())
        })
    }

    /// Connects with packets that may make only so many hops.
    pub fn open_with_hops(hops: u32, address: SocketAddr, timeout: Duration) -> Result<Self> {
        Self::open_prepared(address, timeout, |socket| match address {
            SocketAddr::V4(_) => socket.set_ttl_v4(hops),
            SocketAddr::V6(_) => socket.set_unicast_hops_v6(hops),
        })
    }

    fn open_prepared(
        address: SocketAddr,
        timeout: Duration,
        prepare: impl FnOnce(&Socket) -> io::Result<()>,
    ) -> Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)
            .context("open a socket")?;
        prepare(&socket).context("prepare a socket")?;
        socket
            .connect_timeout(&address.into(), timeout)
            .with_context(|| format!("connect to {address}"))?;
        Self::over(socket.into(), address, timeout)
    }

    fn over(stream: TcpStream, address: SocketAddr, timeout: Duration) -> Result<Self> {
        stream.set_nodelay(true).context("send without delay")?;
        let connection = Self { stream: BufReader::new(stream), host: address };
        connection.set_timeout(timeout)?;
        Ok(connection)
    }

    /// Bounds each later wait for the peer.
    pub fn set_timeout(&self, timeout: Duration) -> Result<()> {
        let stream = self.stream.get_ref();
        stream.set_read_timeout(Some(timeout)).context("set the timeout for reading")?;
        stream.set_write_timeout(Some(timeout)).context("set the timeout for writing")
    }

    /// The client's own address.
    pub fn local_address(&self) -> Result<SocketAddr> {
        self.stream.get_ref().local_addr().context("read the local address")
    }

    /// Sends `GET path` and reads the answer; the connection stays open.
    pub fn get(&mut self, path: &str) -> Result<Answer> {
        self.exchange("GET", path, &[])
    }

    /// Sends `POST path` and reads the answer; the connection stays open.
    pub fn post(&mut self, path: &str, body: &[u8]) -> Result<Answer> {
        self.exchange("POST", path, body)
    }

    /// Sends a request and does not wait for the answer.
    pub fn send(&mut self, path: &str) -> Result<()> {
        self.write("GET", path, &[])
    }

    fn exchange(&mut self, method: &str, path: &str, body: &[u8]) -> Result<Answer> {
        self.write(method, path, body)?;
        self.read_answer()
    }

    fn write(&mut self, method: &str, path: &str, body: &[u8]) -> Result<()> {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n",
            self.host,
            body.len()
        );
        let request = [head.as_bytes(), body].concat();
        self.stream.get_mut().write_all(&request).context("send the request")
    }

    /// Reads the answer to the oldest request that has none yet.
    pub fn read_answer(&mut self) -> Result<Answer> {
        let first = self.read_line()?;
        let status = first.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.with_context(|| format!("read a status from {first:?}"))?;
        let (mut backend, mut length) = (String::new(), 0);
        loop {
            let line = self.read_line()?;
            match line.split_once(':') {
                Some((name, value)) if name.eq_ignore_ascii_case("x-backend") => {
                    value.trim().clone_into(&mut backend);
                }
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.trim().parse().context("read the content length")?;
                }
                Some(_) => {}
                None => break,
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).context("read the body")?;
        Ok(Answer { status, backend, body })
    }

    fn read_line(&mut self) -> Result<String> {
        let mut line = String::new();
        let length = self.stream.read_line(&mut line).context("read the answer")?;
        ensure!(length > 0, "the connection was closed before the answer");
        Ok(line.trim_end().to_owned())
    }
}

/// Sends `GET path` over a new connection.
pub fn get(address: SocketAddr, path: &str, timeout: Duration) -> Result<Answer> {
    Connection::open(address, timeout)?.get(path)
}

/// Asks for the name of whoever answers at `address`, over a new connection.
pub fn ask_name(address: SocketAddr, timeout: Duration) -> Exchange {
    let started_at = now();
    let outcome = get(address, "/", timeout).and_then(|answer| {
        ensure!(answer.status == 200, "status {}", answer.status);
        String::from_utf8(answer.body).context("read the name")
    });
    let outcome = outcome.map_err(|error| format!("{error:#}"));
    Exchange { started_at, ended_at: now(), outcome }
}
