//! The API over its Unix socket and the pages of metrics, asked by curl.
#![cfg(feature = "root")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::os::unix::fs::PermissionsExt;

use lb_tests::agent::{METRICS, shop};
use lb_tests::command::{run, run_with_input};
use lb_tests::stage::Stage;
use lb_tests::world::{Arms, World};
use serde_json::{Value, json};

/// Status and body of a request; `body` is sent as JSON where there is one.
fn call(world: &World, method: &str, route: &str, body: Option<&Value>) -> (u16, Value) {
    let mut command = std::process::Command::new("curl");
    command.args(["-sS", "-X", method, "-w", "\n%{http_code}", "--unix-socket"]);
    command.arg(world.folder().join("lb.sock")).arg(format!("http://lb{route}"));
    if let Some(body) = body {
        command.args(["-H", "content-type: application/json", "-d", &body.to_string()]);
    }
    let text = run(&mut command).unwrap();
    let (answer, code) = text.rsplit_once('\n').unwrap();
    (code.parse().unwrap(), serde_json::from_str(answer).unwrap_or(Value::Null))
}

fn get(world: &World, route: &str) -> Value {
    let (code, answer) = call(world, "GET", route, None);
    assert_eq!(code, 200, "{route}: {answer}");
    answer
}

#[test]
fn every_route_that_looks_answers_with_its_type() {
    let world = World::new(Arms::Two, 2).unwrap();
    let stage = Stage::shop(&world).unwrap();
    stage.answers(4).unwrap();
    let agent = get(&world, "/v1/status");
    assert_eq!((&agent["node"], &agent["backends_serving"]), (&json!("director"), &json!(2)));
    assert_eq!(agent["interfaces"][1]["mode"], "native");
    let services = get(&world, "/v1/services");
    assert_eq!(services[0]["backends"][1]["name"], "web2");
    let health = get(&world, "/v1/health");
    assert_eq!(health.as_array().unwrap().len(), 4, "two backends, two families: {health}");
    assert_eq!(health[0]["last_result"], "HTTP 200");
    let history = get(&world, "/v1/health/history");
    assert_eq!(history[0]["to"], "up", "{history}");
    let flows = get(&world, "/v1/flows?limit=1&service=shop");
    assert_eq!((&flows["total"], flows["flows"].as_array().unwrap().len()), (&json!(4), 1));
    assert_eq!(get(&world, "/v1/flows?backend=web1")["total"], 2);
    let drops = get(&world, "/v1/drops");
    assert!(drops.as_array().unwrap().iter().any(|row| row["verdict"] == "to_backend"));
    let doctor = get(&world, "/v1/doctor");
    assert!(doctor.as_array().unwrap().iter().any(|check| check["name"] == "next hops"));
    assert_eq!(get(&world, "/v1/config")["text"], shop(&world).file(&world));
    assert_eq!(get(&world, "/v1/config/diff"), json!({ "overlay": [], "file": [] }));
}

#[test]
fn every_route_that_changes_something_does_it_or_only_tries() {
    let world = World::new(Arms::Two, 2).unwrap();
    let stage = Stage::shop(&world).unwrap();
    let drain = json!({ "service": "shop", "backend": "web1", "action": "set", "state": "drain" });
    let wanted = || get(&world, "/v1/services")[0]["backends"][0]["state"].clone();
    let (code, tried) = call(&world, "POST", "/v1/backends?dry_run=true", Some(&drain));
    assert_eq!((code, &tried["dry_run"], wanted()), (200, &json!(true), json!("ready")));
    let (code, done) = call(&world, "POST", "/v1/backends", Some(&drain));
    assert_eq!((code, &done["changes"], wanted()), (200, &tried["changes"], json!("drain")));
    let (code, _) = call(&world, "POST", "/v1/reload?discard=true&dry_run=true", None);
    assert_eq!((code, wanted()), (200, json!("drain")));
    let (code, _) = call(&world, "POST", "/v1/reload?discard=true", None);
    assert_eq!((code, wanted()), (200, json!("ready")));

    let text = shop(&world).file(&world).replace("fall = 3", "fall = 4");
    let config = json!({ "name": "new.toml", "text": text });
    let (code, report) = call(&world, "POST", "/v1/config/check", Some(&config));
    assert_eq!((code, &report["valid"]), (200, &json!(true)), "{report}");
    let on_disk = || std::fs::read_to_string(lb_tests::agent::config_file(&world)).unwrap();
    let (code, tried) = call(&world, "POST", "/v1/config/apply?dry_run=true", Some(&config));
    assert!(code == 200 && tried["changes"].to_string().contains("fall"), "{tried}");
    assert_ne!(on_disk(), text);
    assert_eq!(call(&world, "POST", "/v1/config/apply", Some(&config)).0, 200);
    assert_eq!(on_disk(), text);
    stage.answers(4).unwrap();
}

#[test]
fn refusals_carry_a_problem_and_the_fitting_status() {
    let world = World::new(Arms::Two, 1).unwrap();
    let _stage = Stage::shop(&world).unwrap();
    let change = |backend: &str, more: Value| {
        let mut change = json!({ "service": "shop", "backend": backend });
        change.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        change
    };
    let wrong = json!({ "name": "draft.toml", "text": "version = 2" });
    for (code, method, route, body) in [
        (404, "POST", "/v1/backends", Some(change("web9", json!({ "action": "delete" })))),
        (
            409,
            "POST",
            "/v1/backends",
            Some(change("web1", json!({ "action": "add", "address": ["192.0.2.99:80"] }))),
        ),
        (
            422,
            "POST",
            "/v1/backends",
            Some(change("web1", json!({ "action": "set", "weight": 70_000 }))),
        ),
        (422, "POST", "/v1/config/apply", Some(wrong)),
        (404, "GET", "/v1/nothing", None),
        (405, "DELETE", "/v1/status", None),
        (400, "POST", "/v1/backends", Some(json!("nonsense"))),
        (400, "GET", "/v1/flows?limit=many", None),
    ] {
        let (found, answer) = call(&world, method, route, body.as_ref());
        let is_client_error = if code == 400 { (400..500).contains(&found) } else { found == code };
        assert!(is_client_error, "{method} {route}: {found} {answer}");
        assert!(answer["error"].is_string(), "{method} {route}: {answer}");
    }
}

#[test]
fn the_socket_has_the_mode_of_the_configuration() {
    let world = World::new(Arms::Two, 1).unwrap();
    let text = shop(&world).file(&world).replace("[api]", "[api]\nsocket_mode = \"0600\"");
    let _stage = Stage::set_from(&world, &text).unwrap();
    let mode = std::fs::metadata(world.folder().join("lb.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn metrics_are_what_prometheus_reads() {
    let world = World::new(Arms::Two, 2).unwrap();
    let stage = Stage::shop(&world).unwrap();
    stage.answers(10).unwrap();
    let ask = |path: &str| {
        let mut command = world.director.command("curl");
        run(command.args(["-sS", "-i", &format!("http://{METRICS}{path}")])).unwrap()
    };
    let page = ask("/metrics");
    assert!(
        page.starts_with("HTTP/1.1 200") && page.contains("text/plain; version=0.0.4"),
        "{page}"
    );
    let (_, text) = page.split_once("\r\n\r\n").unwrap();
    assert!(text.contains("lb_service_flows_total{service=\"shop\"} 10\n"), "{text}");
    let linted =
        run_with_input(std::process::Command::new("promtool").args(["check", "metrics"]), text);
    assert_eq!(linted.unwrap(), "");
    for (path, status) in [("/livez", "200"), ("/readyz", "200"), ("/nothing", "404")] {
        assert!(ask(path).starts_with(&format!("HTTP/1.1 {status}")), "{path}: {}", ask(path));
    }
}
