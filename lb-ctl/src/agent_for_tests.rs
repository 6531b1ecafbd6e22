//! A real HTTP server on a Unix socket, which answers as a test says.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::UnixListener;

use crate::client::Client;

/// Gets method and path, and the body; gives status and body.
type Script = dyn Fn(&str, &str) -> (u16, String) + Send + Sync;

pub(crate) struct Agent {
    folder: tempfile::TempDir,
}

impl Agent {
    /// Listens until the test's runtime ends.
    pub(crate) fn start(
        script: impl Fn(&str, &str) -> (u16, String) + Send + Sync + 'static,
    ) -> Self {
        let agent = Self { folder: tempfile::tempdir().unwrap() };
        let listener = UnixListener::bind(agent.socket()).unwrap();
        tokio::spawn(serve(listener, Arc::new(script)));
        agent
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("lb.sock")
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&self.socket())
    }
}

async fn serve(listener: UnixListener, script: Arc<Script>) {
    while let Ok((stream, _peer)) = listener.accept().await {
        let script = Arc::clone(&script);
        let service = service_fn(move |request| answer(request, Arc::clone(&script)));
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn answer(
    request: Request<Incoming>,
    script: Arc<Script>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let line = format!("{} {}", request.method(), request.uri());
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let (status, text) = script(&line, std::str::from_utf8(&body).unwrap());
    Ok(Response::builder().status(status).body(Full::new(text.into())).unwrap())
}
