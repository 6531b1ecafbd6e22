//! One probe of one address: opens a connection, and for HTTP asks one question.
//!
//! How often to probe and what an outcome means is decided in `model`; a probe only says how it ended, in
//! words for a person. What this host could not do, for want of descriptors or ports, is no result.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use nix::errno::Errno;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::clock;
use crate::model::agent::ProbeOutcome;
use crate::model::config::{CheckKind, HealthCheck};

const USER_AGENT: &str = concat!("sluice/", env!("CARGO_PKG_VERSION"));

/// This host lacks something that a probe takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotProbed(pub String);

/// Why a probe did not pass.
enum Fault {
    Backend(String),
    Host(String),
}

/// Probes `address` once, within the check's timeout.
pub async fn probe(address: SocketAddr, check: &HealthCheck) -> Result<ProbeOutcome, NotProbed> {
    let started_at = clock::now();
    let answer = timeout(check.timeout, ask(address, &check.kind)).await;
    let took = clock::now().saturating_duration_since(started_at);
    let (passed, result) = match answer {
        Ok(Ok(result)) => (true, result),
        Ok(Err(Fault::Backend(result))) => (false, result),
        Ok(Err(Fault::Host(reason))) => return Err(NotProbed(reason)),
        Err(_elapsed) => (false, no_answer(check.timeout)),
    };
    Ok(ProbeOutcome { passed, result, took })
}

fn no_answer(limit: Duration) -> String {
    format!("no answer within {limit:?}")
}

async fn ask(address: SocketAddr, kind: &CheckKind) -> Result<String, Fault> {
    let stream = TcpStream::connect(address).await.map_err(|error| fault(&error))?;
    match kind {
        CheckKind::Tcp => hang_up(&stream).map_err(Fault::Backend),
        CheckKind::Http { path, host, expect_status } => {
            let host = host_header(address, host.as_deref());
            let status = get(stream, path, &host).await.map_err(Fault::Backend)?;
            let expected = expect_status.iter().any(|range| range.contains(&status.as_u16()));
            let result = format!("HTTP {}", status.as_u16());
            if expected { Ok(result) } else { Err(Fault::Backend(result)) }
        }
    }
}

/// Errors of connect(2) and socket(2) that come before anything is sent are this host's.
fn fault(error: &io::Error) -> Fault {
    let code = error.raw_os_error().map(Errno::from_raw);
    match code {
        Some(
            Errno::EMFILE
            | Errno::ENFILE
            | Errno::ENOBUFS
            | Errno::ENOMEM
            | Errno::EADDRNOTAVAIL
            | Errno::EAGAIN,
        ) => Fault::Host(in_words(error)),
        Some(_) | None => Fault::Backend(in_words(error)),
    }
}

/// Ends a TCP probe with a reset instead of a FIN: the director keeps no socket in `TIME_WAIT` (a thousand
/// backends every two seconds would keep 30,000), and a server that is slow to accept has nothing to do.
fn hang_up(stream: &TcpStream) -> Result<String, String> {
    SockRef::from(stream).set_linger(Some(Duration::ZERO)).map_err(|error| in_words(&error))?;
    Ok("connected".into())
}

/// Asks for `path` and returns the status. The socket is closed as usual: after `Connection: close` it is
/// the server that closes first, and a reset would look like an aborted download in its log.
async fn get(stream: TcpStream, path: &str, host: &str) -> Result<StatusCode, String> {
    let request = Request::get(path)
        .header(header::HOST, host)
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::ACCEPT, "*/*")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| format!("cannot ask for {path}: {error}"))?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| http_in_words(&error))?;
    // A set of one: when the probe ends or times out, the set is dropped and the connection with it.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let response = sender.send_request(request).await.map_err(|error| http_in_words(&error))?;
    Ok(response.status())
}

/// RFC 9110 7.2: the host as in the target's authority, the port left out where it is the scheme's own.
fn host_header(address: SocketAddr, host: Option<&str>) -> String {
    match (host, address) {
        (Some(host), _) => host.to_owned(),
        (None, SocketAddr::V4(v4)) if v4.port() == 80 => v4.ip().to_string(),
        (None, SocketAddr::V6(v6)) if v6.port() == 80 => format!("[{}]", v6.ip()),
        (None, address) => address.to_string(),
    }
}

fn http_in_words(error: &hyper::Error) -> String {
    let cause =
        std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
    if let Some(cause) = cause {
        in_words(cause)
    } else if error.is_parse() {
        "the answer is not HTTP".into()
    } else if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        "connection closed without an answer".into()
    } else {
        error.to_string()
    }
}

/// The system's message without its number: `connection refused`, not `Connection refused (os error 111)`.
fn in_words(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::task::JoinHandle;

    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn check(kind: CheckKind) -> HealthCheck {
        HealthCheck {
            name: None,
            kind,
            interval: Duration::from_secs(2),
            timeout: Duration::from_millis(300),
            jitter: 0.0,
            rise: 2,
            fall: 3,
        }
    }

    fn http(path: &str) -> HealthCheck {
        let expect_status = vec![200..=299];
        check(CheckKind::Http { path: path.into(), host: None, expect_status })
    }

    /// A server that takes one connection, reads a request's head and says `answer`.
    async fn server(answer: &'static str) -> (SocketAddr, JoinHandle<String>) {
        let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = tokio::spawn(async move {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") && client.read_buf(&mut head).await.unwrap() > 0 {}
            client.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8(head).unwrap()
        });
        (address, served)
    }

    /// An address where nobody listens: its listener is gone.
    async fn nobody() -> SocketAddr {
        TcpListener::bind((LOOPBACK, 0)).await.unwrap().local_addr().unwrap()
    }

    #[tokio::test]
    async fn a_listener_passes_a_tcp_probe_and_sees_it_end_at_once() {
        let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
        let outcome = probe(listener.local_addr().unwrap(), &check(CheckKind::Tcp)).await.unwrap();
        assert!(outcome.passed);
        assert_eq!(outcome.result, "connected");
        let (mut client, _) = listener.accept().await.unwrap();
        let end = timeout(Duration::from_secs(1), client.read_u8()).await.unwrap();
        assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn a_closed_port_is_named_as_such() {
        for check in [check(CheckKind::Tcp), http("/")] {
            let outcome = probe(nobody().await, &check).await.unwrap();
            assert_eq!((outcome.passed, outcome.result.as_str()), (false, "connection refused"));
        }
    }

    #[tokio::test]
    async fn a_server_that_hangs_fails_at_the_timeout_and_not_before() {
        let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
        let outcome = probe(listener.local_addr().unwrap(), &http("/")).await.unwrap();
        assert_eq!((outcome.passed, outcome.result.as_str()), (false, "no answer within 300ms"));
        assert!(outcome.took >= Duration::from_millis(300), "{:?}", outcome.took);
        assert!(outcome.took < Duration::from_secs(2), "{:?}", outcome.took);
    }

    #[tokio::test]
    async fn an_http_answer_passes_by_its_status() {
        for (answer, passed, result) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", true, "HTTP 200"),
            ("HTTP/1.0 204 No Content\r\n\r\n", true, "HTTP 204"),
            ("HTTP/1.1 301 Moved\r\nlocation: /\r\ncontent-length: 0\r\n\r\n", false, "HTTP 301"),
            ("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n", false, "HTTP 503"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\nbegins", true, "HTTP 200"),
        ] {
            let (address, _served) = server(answer).await;
            let outcome = probe(address, &http("/")).await.unwrap();
            assert_eq!((outcome.passed, outcome.result.as_str()), (passed, result));
        }
    }

    #[tokio::test]
    async fn what_is_not_http_fails_and_says_so() {
        for (answer, result) in [
            ("SSH-2.0-OpenSSH_9.2\r\n", "the answer is not HTTP"),
            ("", "connection closed without an answer"),
            ("HTTP/1.1 20", "connection closed without an answer"),
        ] {
            let (address, _served) = server(answer).await;
            let outcome = probe(address, &http("/")).await.unwrap();
            assert_eq!((outcome.passed, outcome.result.as_str()), (false, result));
        }
    }

    #[tokio::test]
    async fn the_request_names_path_host_and_sluice_and_asks_to_close() {
        let (address, served) = server("HTTP/1.1 200 OK\r\n\r\n").await;
        let kind = CheckKind::Http {
            path: "/healthz?full=1".into(),
            host: Some("shop.example".into()),
            expect_status: vec![200..=200],
        };
        assert!(probe(address, &check(kind)).await.unwrap().passed);
        let head = served.await.unwrap().to_lowercase();
        assert!(head.starts_with("get /healthz?full=1 http/1.1\r\n"), "{head}");
        for line in ["host: shop.example\r\n", "connection: close\r\n", "user-agent: sluice/0."] {
            assert!(head.contains(line), "{line} in {head}");
        }
    }

    #[test]
    fn what_this_host_lacks_is_no_result() {
        for code in [Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS, Errno::EADDRNOTAVAIL] {
            assert!(matches!(fault(&code.into()), Fault::Host(_)), "{code}");
        }
        for code in [Errno::ECONNREFUSED, Errno::EHOSTUNREACH, Errno::ECONNRESET] {
            assert!(matches!(fault(&code.into()), Fault::Backend(_)), "{code}");
        }
    }

    #[test]
    fn the_host_header_leaves_out_the_port_of_http() {
        for (address, host) in [
            ("192.0.2.1:80", "192.0.2.1"),
            ("192.0.2.1:8080", "192.0.2.1:8080"),
            ("[2001:db8::1]:80", "[2001:db8::1]"),
            ("[2001:db8::1]:81", "[2001:db8::1]:81"),
        ] {
            assert_eq!(host_header(address.parse().unwrap(), None), host);
        }
    }
}
