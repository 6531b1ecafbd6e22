//! A small HTTP/1.1 server: what the backends of a world run.
//!
//! | request | answer |
//! |---|---|
//! | `GET /` | its name |
//! | `GET /healthz` | 200, empty |
//! | `GET /bytes/N` | N bytes of [`pattern`] |
//! | `POST /echo-hash` | length and [`checksum`] of the body: `10 af63bd4c8601b7df` |
//! | `GET /slow/MS` | its name, after MS milliseconds |
//!
//! Each answer names the server in `x-backend`.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, server::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

/// Serves on all addresses of `listen` until the process ends.
pub fn serve(name: &str, listen: &[SocketAddr]) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime of the server")?;
    runtime.block_on(async {
        let name: Arc<str> = name.into();
        let mut accepting = tokio::task::JoinSet::new();
        for address in listen {
            let listener =
                TcpListener::bind(address).await.with_context(|| format!("listen on {address}"))?;
            accepting.spawn(accept(listener, Arc::clone(&name)));
        }
        while accepting.join_next().await.is_some() {}
        Ok(())
    })
}

/// The first `length` bytes of a pattern in which no two neighbouring packets are alike.
pub fn pattern(length: usize) -> Vec<u8> {
    (0..=250_u8).cycle().take(length).collect()
}

/// FNV-1a, 64 bits.
pub fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

async fn accept(listener: TcpListener, name: Arc<str>) {
    loop {
        // A connection that its client reset before it was accepted is no reason to stop.
        if let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(converse(stream, Arc::clone(&name)));
        }
    }
}

async fn converse(stream: TcpStream, name: Arc<str>) {
    let answer = service_fn(move |request| answer(request, Arc::clone(&name)));
    // How a conversation ended is the client's to judge.
    http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await.ok();
}

async fn answer(
    request: Request<Incoming>,
    name: Arc<str>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, body) = respond(request, &name).await;
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    if let Ok(value) = name.parse() {
        response.headers_mut().insert("x-backend", value);
    }
    Ok(response)
}

async fn respond(request: Request<Incoming>, name: &str) -> (StatusCode, Bytes) {
    let path = request.uri().path().to_owned();
    let mut segments = path.trim_start_matches('/').split('/');
    let verb = (request.method(), segments.next(), segments.next().map(str::parse::<u32>));
    match verb {
        (&Method::GET, Some(""), None) => (StatusCode::OK, named(name)),
        (&Method::GET, Some("healthz"), None) => (StatusCode::OK, Bytes::new()),
        (&Method::GET, Some("bytes"), Some(Ok(length))) => match usize::try_from(length) {
            Ok(length) => (StatusCode::OK, pattern(length).into()),
            Err(_) => (StatusCode::BAD_REQUEST, Bytes::new()),
        },
        (&Method::GET, Some("slow"), Some(Ok(milliseconds))) => {
            tokio::time::sleep(Duration::from_millis(milliseconds.into())).await;
            (StatusCode::OK, named(name))
        }
        (&Method::POST, Some("echo-hash"), None) => match request.into_body().collect().await {
            Ok(body) => (StatusCode::OK, digest(&body.to_bytes()).into()),
            Err(error) => (StatusCode::BAD_REQUEST, error.to_string().into()),
        },
        _ => (StatusCode::NOT_FOUND, Bytes::new()),
    }
}

fn named(name: &str) -> Bytes {
    Bytes::copy_from_slice(name.as_bytes())
}

/// What `POST /echo-hash` answers for `body`.
pub fn digest(body: &[u8]) -> String {
    format!("{} {:016x}", body.len(), checksum(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_fnv_1a() {
        assert_eq!(checksum(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(checksum(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(checksum(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn the_pattern_differs_from_packet_to_packet() {
        let bytes = pattern(3_000);
        assert_eq!(bytes.len(), 3_000);
        assert_ne!(bytes[..1_448], bytes[1_448..2_896]);
    }
}
