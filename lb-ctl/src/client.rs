//! One request over the agent's Unix socket: HTTP/1.1 with JSON, a connection each.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes};
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use lb_common::api::Problem;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::error::Error;
pub(crate) use upload::Sent;
use upload::Upload;

mod upload;

/// Longer than the agent needs to answer a question.
const PATIENCE: Duration = Duration::from_secs(30);
/// So many times longer a change may take: it waits for those before it, and may be one of a million prefixes.
const MORE_FOR_CHANGES: u32 = 10;

pub(crate) struct Client {
    socket: PathBuf,
    patience: Duration,
}

impl Client {
    pub(crate) fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned(), patience: PATIENCE }
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.answer(Method::GET, path, Full::default()).await
    }

    /// Sends no body.
    pub(crate) async fn post<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.answer(Method::POST, path, Full::default()).await
    }

    pub(crate) async fn send<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Error> {
        let body = serde_json::to_vec(body).map_err(|error| Error::Encode(error.to_string()))?;
        self.answer(Method::POST, path, Full::from(body)).await
    }

    /// Sends a text as it is; `sent` follows.
    pub(crate) async fn send_text<T: DeserializeOwned>(
        &self,
        path: &str,
        text: Vec<u8>,
        sent: Sent,
    ) -> Result<T, Error> {
        self.answer(Method::POST, path, Upload::new(text.into(), sent)).await
    }

    async fn answer<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: impl Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static,
    ) -> Result<T, Error> {
        let name = format!("{method} {path}");
        let more = if method == Method::POST { MORE_FOR_CHANGES } else { 1 };
        let patience = self.patience * more;
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|source| Error::Connect { socket: self.socket.clone(), source })?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "lb-agent")
            .header("content-type", "application/json")
            .body(body)
            .map_err(|error| Error::Encode(error.to_string()))?;
        let (status, body) = tokio::time::timeout(patience, exchange(stream, request))
            .await
            .map_err(|_elapsed| Error::Silent { request: name.clone(), after: patience })?
            .map_err(|source| Error::Exchange { request: name.clone(), source })?;
        if status.is_success() {
            return serde_json::from_slice(&body)
                .map_err(|error| Error::Answer { request: name, detail: error.to_string() });
        }
        let problem = serde_json::from_slice::<Problem>(&body).map_err(|_not_a_problem| {
            Error::Answer { request: name, detail: format!("status {status} without a reason") }
        })?;
        Err(Error::Refused { path: path.to_owned(), status, problem })
    }
}

async fn exchange(
    stream: UnixStream,
    request: Request<impl Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static>,
) -> Result<(StatusCode, Bytes), hyper::Error> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let work = async move {
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        Ok((status, answer.into_body().collect().await?.to_bytes()))
    };
    // The connection only moves bytes; what goes wrong with it reaches the request too.
    let (answer, _connection) = tokio::join!(work, connection);
    answer
}

/// A path with those parameters that have a value.
pub(crate) fn path(base: &str, parameters: &[(&str, Option<&str>)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in parameters {
        if let Some(value) = value {
            query.append_pair(name, value);
        }
    }
    let query = query.finish();
    if query.is_empty() { base.to_owned() } else { format!("{base}?{query}") }
}

#[cfg(test)]
mod tests {
    use lb_common::api::{Applied, ConfigText};

    use super::*;
    use crate::agent_for_tests::Agent;

    #[test]
    fn a_path_carries_only_parameters_that_are_given() {
        assert_eq!(path("/v1/status", &[]), "/v1/status");
        assert_eq!(
            path(
                "/v1/flows",
                &[("limit", Some("5")), ("service", Some("a b&c")), ("backend", None)]
            ),
            "/v1/flows?limit=5&service=a+b%26c"
        );
    }

    #[tokio::test]
    async fn a_request_carries_method_path_and_body() {
        let agent = Agent::start(|request, body| {
            assert_eq!(request, "POST /v1/config/apply?dry_run=true");
            assert_eq!(body, r#"{"name":"lb.toml","text":"version = 1"}"#);
            (200, r#"{"changes":["service shop is new"],"dry_run":true}"#.into())
        });
        let text = ConfigText { name: "lb.toml".into(), text: "version = 1".into() };
        let applied: Applied =
            agent.client().send("/v1/config/apply?dry_run=true", &text).await.unwrap();
        assert_eq!(applied.changes, ["service shop is new"]);
        assert!(applied.dry_run);
    }

    #[tokio::test]
    async fn a_refusal_carries_the_agents_words() {
        let agent = Agent::start(|_request, _body| {
            (404, r#"{"error":"there is no service `shp`","help":"did you mean `shop`?"}"#.into())
        });
        let error = agent.client().get::<Applied>("/v1/status").await.unwrap_err();
        assert_eq!(error.to_string(), "there is no service `shp`");
        assert_eq!(error.help().as_deref(), Some("did you mean `shop`?"));
    }

    #[tokio::test]
    async fn an_answer_of_another_shape_is_named() {
        let agent = Agent::start(|request, _body| match request {
            "GET /v1/status" => (200, r#"{"changes":3}"#.into()),
            _ => (404, "Not Found".into()),
        });
        let client = agent.client();
        for (path, detail) in [("/v1/status", "invalid type"), ("/v1/new", "status 404 Not Found")]
        {
            let error = client.get::<Applied>(path).await.unwrap_err();
            assert!(error.to_string().contains(detail), "{error}");
            assert_eq!(error.exit(), crate::error::Exit::Failed);
        }
    }

    #[tokio::test]
    async fn a_missing_socket_and_one_without_listener_are_unreachable() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("lb.sock");
        for attempt in ["missing", "left over"] {
            let error = Client::new(&socket).get::<Applied>("/v1/status").await.unwrap_err();
            assert_eq!(error.exit(), crate::error::Exit::Unreachable, "{attempt}");
            assert!(error.to_string().contains("lb.sock"), "{error}");
            drop(std::os::unix::net::UnixListener::bind(&socket));
        }
    }

    #[tokio::test]
    async fn an_agent_that_never_answers_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("lb.sock");
        let _mute = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let client = Client { socket, patience: Duration::from_millis(50) };
        let error = client.get::<Applied>("/v1/status").await.unwrap_err();
        assert_eq!(error.to_string(), "the agent did not answer GET /v1/status within 50ms");
    }
}
