//! The routes over a real Unix socket; behind them stands a loop that answers from a fixed little world.

use std::path::PathBuf;

use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use lb_common::api::{BackendAction, BackendState, Problem, SetElements};
use serde_json::{Value, json};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};

use super::*;
use crate::io::api::{bind, serve};
use crate::io::message::Message;
use crate::model::agent::Refusal;

/// A served API, and what the core loop was asked.
struct Served {
    _folder: tempfile::TempDir,
    socket: PathBuf,
    asked: mpsc::UnboundedReceiver<String>,
    _stop: watch::Sender<bool>,
}

async fn served() -> Served {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("lb.sock");
    let (messages, inbox) = mpsc::channel(8);
    let (stop, stopped) = watch::channel(false);
    let (log, asked) = mpsc::unbounded_channel();
    let listener = bind(&socket, 0o600).await.unwrap();
    tokio::spawn(serve(listener, Core::new(messages), stopped));
    tokio::spawn(answer_all(inbox, log));
    Served { _folder: folder, socket, asked, _stop: stop }
}

async fn answer_all(mut inbox: mpsc::Receiver<Message>, log: mpsc::UnboundedSender<String>) {
    while let Some(Message::Call(call)) = inbox.recv().await {
        log.send(format!("{call:?}")).unwrap();
        answer(call);
    }
}

/// Says which call it was by an answer of its own; there is no service but `shop`.
fn answer(call: Call) {
    let problem = || Failure::internal("not asked here");
    match call {
        Call::Health(reply) => reply.send(Ok(Vec::new())).unwrap(),
        Call::Flows(filter, reply) => {
            let total = u64::try_from(filter.limit).unwrap();
            reply.send(Ok(FlowList { total, flows: Vec::new() })).unwrap();
        }
        Call::Apply(_, mode, reply) | Call::Reload(mode, reply) => {
            let changes = vec![format!("{:?}", mode.overlay)];
            reply
                .send(Ok(Applied { changes, dry_run: mode.dry_run, ..Applied::default() }))
                .unwrap();
        }
        Call::Change(change, mode, reply) => {
            let Change::Backend(change) = change else { panic!("{change:?}") };
            let known = change.service == "shop";
            let refusal = Refusal::NotFound(format!("no service {}", change.service));
            let applied = Applied { dry_run: mode.dry_run, ..Applied::default() };
            reply.send(if known { Ok(applied) } else { Err(refusal.into()) }).unwrap();
        }
        Call::Status(reply) => reply.send(Err(problem())).unwrap(),
        Call::Sync(reply) => reply.send(Err(problem())).unwrap(),
        Call::DropSamples(_, reply) => reply.send(Err(problem())).unwrap(),
        Call::Explain(_, reply) | Call::Explained(_, _, reply) => {
            reply.send(Err(problem())).unwrap();
        }
        Call::Firewall(reply) => reply.send(Err(problem())).unwrap(),
        Call::Sets(reply) => reply.send(Ok(Vec::new())).unwrap(),
        Call::SetElements(_, limit, reply) => {
            reply.send(Ok(SetElements { total: limit, elements: Vec::new() })).unwrap();
        }
        Call::Services(reply) => reply.send(Ok(Vec::new())).unwrap(),
        Call::History(reply) => reply.send(Ok(Vec::new())).unwrap(),
        Call::Drops(reply) => reply.send(Ok(Vec::new())).unwrap(),
        Call::Doctor(reply) => reply.send(Ok(Vec::new())).unwrap(),
        Call::Config(reply) => {
            reply.send(Ok(ConfigText { name: "lb.toml".into(), text: String::new() })).unwrap();
        }
        Call::Diff(reply) => reply.send(Ok(ConfigDiff::default())).unwrap(),
        Call::Check(text, _, reply) => {
            let problems = text.name;
            let report = ConfigReport { valid: false, problems, count: 1, notes: Vec::new() };
            reply.send(Ok(report)).unwrap();
        }
        Call::Vrrp(reply) | Call::Release(_, reply) => {
            reply.send(Ok(VrrpStatus::default())).unwrap();
        }
        Call::VrrpHistory(reply) => reply.send(Ok(Vec::new())).unwrap(),
        Call::Metrics(reply) => reply.send(Err(problem())).unwrap(),
        Call::Ready(reply) | Call::Confirm(reply) => reply.send(Ok(())).unwrap(),
    }
}

impl Served {
    async fn request(&self, method: &str, target: &str, body: &str) -> (u16, Value) {
        let stream = UnixStream::connect(&self.socket).await.unwrap();
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.unwrap();
        tokio::spawn(connection);
        let body = Full::new(Bytes::from(body.to_owned()));
        let request = Request::builder().method(method).uri(target).header("host", "agent");
        let response = sender.send_request(request.body(body).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    }

    async fn problem(&self, method: &str, target: &str, body: &str) -> (u16, String) {
        let (status, body) = self.request(method, target, body).await;
        (status, serde_json::from_value::<Problem>(body).unwrap().error)
    }
}

#[tokio::test]
async fn every_get_route_puts_its_own_call() {
    let mut served = served().await;
    for (target, call) in [
        ("/v1/services", "Services"),
        ("/v1/health", "Health"),
        ("/v1/health/history", "History"),
        ("/v1/flows", "Flows"),
        ("/v1/drops", "Drops"),
        ("/v1/doctor", "Doctor"),
        ("/v1/config", "Config"),
        ("/v1/config/diff", "Diff"),
        ("/v1/vrrp", "Vrrp"),
        ("/v1/vrrp/history", "VrrpHistory"),
    ] {
        let (status, _) = served.request("GET", target, "").await;
        assert_eq!(status, 200, "{target}");
        let asked = served.asked.recv().await.unwrap();
        assert_eq!(asked.split('(').next(), Some(call), "{target}");
    }
}

#[tokio::test]
async fn parameters_reach_the_core_loop() {
    let mut served = served().await;
    let (_, flows) = served.request("GET", "/v1/flows?limit=7&service=shop", "").await;
    assert_eq!(flows["total"], 7);
    let asked = served.asked.recv().await.unwrap();
    assert!(asked.contains(r#"service: Some("shop"), backend: None"#), "{asked}");
    let (_, applied) = served.request("POST", "/v1/reload?discard=true&dry_run=true", "").await;
    assert_eq!(applied, json!({"changes": ["Discard"], "dry_run": true}));
    let (_, applied) = served.request("POST", "/v1/reload", "").await;
    assert_eq!(applied, json!({"changes": ["Keep"], "dry_run": false}));
    let (_, applied) = served.request("POST", "/v1/reload?save=true", "").await;
    assert_eq!(applied, json!({"changes": ["Save"], "dry_run": false}));
    let (status, problem) = served.request("POST", "/v1/reload?save=true&discard=true", "").await;
    assert_eq!((status, &problem["help"]), (400, &json!("give one of the two")));
}

#[tokio::test]
async fn a_change_arrives_as_it_was_sent() {
    let mut served = served().await;
    let body = r#"{"service":"shop","backend":"web1","action":"set","state":"drain"}"#;
    let (status, applied) = served.request("POST", "/v1/backends?dry_run=true", body).await;
    assert_eq!((status, &applied["dry_run"]), (200, &json!(true)));
    let action = BackendAction::Set {
        address: None,
        weight: None,
        backup: None,
        state: Some(BackendState::Drain),
    };
    let asked = served.asked.recv().await.unwrap();
    assert!(asked.contains(&format!("{action:?}")), "{asked}");
}

#[tokio::test]
async fn a_refusal_leaves_as_a_problem_with_its_status() {
    let served = served().await;
    let body = r#"{"service":"mail","backend":"m1","action":"delete"}"#;
    let problem = served.problem("POST", "/v1/backends", body).await;
    assert_eq!(problem, (404, "no service mail".into()));
    assert_eq!(served.problem("GET", "/v1/status", "").await, (500, "not asked here".into()));
}

#[tokio::test]
async fn a_wrong_body_is_refused_and_its_field_named() {
    let served = served().await;
    for (body, said) in [
        ("{", "the body is not JSON"),
        ("[]", "invalid type: sequence"),
        (r#"{"backend":"web1","action":"delete"}"#, "missing field `service`"),
        (r#"{"service":5,"backend":"web1","action":"delete"}"#, "field `service`: invalid type"),
        (
            r#"{"service":"shop","backend":"web1","action":"stop"}"#,
            "field `action`: unknown variant",
        ),
        (
            r#"{"service":"shop","backend":"web1","action":"set","weight":"x"}"#,
            "field `weight`: invalid type",
        ),
        (
            r#"{"service":"shop","backend":"web1","action":"add","address":5}"#,
            "field `address`: invalid type",
        ),
    ] {
        let (status, error) = served.problem("POST", "/v1/backends", body).await;
        assert_eq!(status, 422, "{body}");
        assert!(error.contains(said), "{error} should say {said}");
    }
}

#[tokio::test]
async fn wrong_parameters_are_refused_and_named() {
    let served = served().await;
    for (target, said) in [
        ("/v1/flows?limit=many", "parameters: limit: "),
        ("/v1/flows?colour=red", "field `colour`"),
    ] {
        let (status, error) = served.problem("GET", target, "").await;
        assert_eq!(status, 422, "{target}");
        assert!(error.contains(said), "{error}");
    }
}

#[tokio::test]
async fn an_unknown_route_or_method_is_a_problem_that_names_it() {
    let served = served().await;
    let problem = served.problem("GET", "/v2/status", "").await;
    assert_eq!(problem, (404, "no route GET /v2/status".into()));
    let problem = served.problem("DELETE", "/v1/status", "").await;
    assert_eq!(problem, (405, "/v1/status does not answer DELETE".into()));
}

#[tokio::test]
async fn a_long_configuration_is_taken_and_one_without_measure_is_not() {
    let served = served().await;
    let body = |length: usize| format!(r#"{{"name":"lb.toml","text":"{}"}}"#, "x".repeat(length));
    let (status, _) = served.request("POST", "/v1/config/check", &body(3 << 20)).await;
    assert_eq!(status, 200);
    let (status, error) = served.problem("POST", "/v1/config/check", &body(40 << 20)).await;
    assert_eq!(status, 413, "{error}");
}
