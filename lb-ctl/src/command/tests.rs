//! Whole commands against a server on a Unix socket.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Parser;

use super::*;
use crate::agent_for_tests::Agent;
use crate::args::Cli;
use crate::args::backend::Which;
use crate::render::backend::tests::shop;

fn context(agent: &Agent, format: Format) -> Context {
    let screen = Screen { terminal: false, colour: false };
    Context { client: agent.client(), format, screen, progress: false, session: None }
}

/// Runs a command line against an agent.
async fn run(line: &str, agent: &Agent) -> Result<Answer, Error> {
    let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
    execute(cli.object, &context(agent, cli.global.format())).await
}

/// An agent with the service shop, which takes every change and answers it with the request.
fn director() -> Agent {
    Agent::start(|request, body| match request {
        "GET /v1/services" => (200, serde_json::to_string(&[shop()]).unwrap()),
        "GET /v1/health" => (200, "[]".into()),
        request if request.starts_with("GET /v1/flows") => {
            (200, r#"{"total":0,"flows":[]}"#.into())
        }
        request if request.starts_with("POST") => {
            let changes = vec![request.to_owned(), body.to_owned()];
            (200, serde_json::to_string(&Applied { changes, ..Applied::default() }).unwrap())
        }
        other => panic!("unexpected {other}"),
    })
}

fn web1() -> Which {
    Which { service: "shop".into(), backend: "web1".into() }
}

#[tokio::test]
async fn each_change_sends_what_it_says() {
    let agent = director();
    let web1 = r#""service":"shop","backend":"web1""#;
    for (line, query, rest) in [
        ("drain shop web1", "false", r#""action":"set","state":"drain""#),
        ("ready shop web1 --dry-run", "true", r#""action":"set","state":"ready""#),
        ("maint shop web1", "false", r#""action":"set","state":"maint""#),
        ("weight shop web1 7", "false", r#""action":"set","weight":7"#),
        ("delete shop web1", "false", r#""action":"delete""#),
        (
            "add shop web1 192.0.2.1:80 --backup",
            "false",
            r#""action":"add","address":["192.0.2.1:80"],"weight":null,"backup":true"#,
        ),
        (
            "set shop web1 --address [2001:db8::1]:80 --backup false",
            "false",
            r#""action":"set","address":["[2001:db8::1]:80"],"backup":false"#,
        ),
    ] {
        let answer = run(&format!("lb-ctl backend {line}"), &agent).await.unwrap();
        let expected = format!("POST /v1/backends?dry_run={query}\n{{{web1},{rest}}}\n");
        assert_eq!((answer.text, answer.exit), (expected, Exit::Done), "{line}");
    }
}

#[tokio::test]
async fn changes_of_rules_and_sets_send_what_they_say() {
    let agent = director();
    let rule = r#""rule":{"name":"web","action":"drop","source":["@bad","10.0.0.0/8"]}"#;
    for (line, request, body) in [
        (
            "firewall rule add web --action drop --source @bad,10.0.0.0/8 --before ssh".to_owned(),
            "firewall/rules?dry_run=false",
            format!(r#"{{"action":"add",{rule},"before":"ssh"}}"#),
        ),
        (
            "firewall rule delete web --dry-run".to_owned(),
            "firewall/rules?dry_run=true",
            r#"{"action":"delete","name":"web"}"#.to_owned(),
        ),
        (
            "set add bad 10.0.0.1 2001:db8::/32".to_owned(),
            "sets?dry_run=false",
            r#"{"set":"bad","action":"add","elements":["10.0.0.1","2001:db8::/32"]}"#.to_owned(),
        ),
        (
            "firewall set delete bad 10.0.0.1".to_owned(),
            "sets?dry_run=false",
            r#"{"set":"bad","action":"delete","elements":["10.0.0.1"]}"#.to_owned(),
        ),
    ] {
        let answer = run(&format!("lb-ctl {line}"), &agent).await.unwrap();
        assert_eq!(answer.text, format!("POST /v1/{request}\n{body}\n"), "{line}");
    }
}

#[tokio::test]
async fn the_lines_of_a_set_are_sent_as_they_are() {
    let agent = director();
    let file = agent.socket().with_file_name("bad.txt");
    std::fs::write(&file, "10.0.0.1 # one").unwrap();
    let line = format!("lb-ctl set load bad {}", file.display());
    let answer = run(&line, &agent).await.unwrap();
    assert_eq!(answer.text, "POST /v1/sets/load?set=bad&dry_run=false\n10.0.0.1 # one\n");
    let long = "10.0.0.1\n".repeat(100_000);
    std::fs::write(&file, &long).unwrap();
    let answer = run(&line, &agent).await.unwrap();
    assert_eq!(
        answer.text.len(),
        "POST /v1/sets/load?set=bad&dry_run=false\n\n".len() + long.len()
    );
    let missing = run("lb-ctl set load bad /nowhere/bad.txt", &agent).await.unwrap_err();
    assert!(missing.to_string().starts_with("read /nowhere/bad.txt: "), "{missing}");
}

#[tokio::test]
async fn elements_that_are_left_out_are_counted() {
    let agent = Agent::start(|request, _body| {
        assert_eq!(request, "GET /v1/sets/elements?set=bad&limit=1");
        (200, r#"{"total":3,"elements":["10.0.0.1/32"]}"#.into())
    });
    let answer = run("lb-ctl set show bad --limit 1", &agent).await.unwrap();
    assert_eq!(answer.text, "10.0.0.1/32\n");
    assert_eq!(answer.remarks, ["1 of 3 elements listed; --limit lists more"]);
}

#[tokio::test]
async fn reload_says_what_becomes_of_the_overlay() {
    for (line, query) in [
        ("--discard --dry-run", "discard=true&save=false&dry_run=true"),
        ("--save", "discard=false&save=true&dry_run=false"),
    ] {
        let answer = run(&format!("lb-ctl reload {line}"), &director()).await.unwrap();
        assert_eq!(answer.text, format!("POST /v1/reload?{query}\n\n"));
    }
}

#[tokio::test]
async fn json_of_a_service_is_the_apis_object() {
    let answer = run("lb-ctl -j service show shop", &director()).await.unwrap();
    assert_eq!(answer.text, serde_json::to_string(&shop()).unwrap() + "\n");
}

#[tokio::test]
async fn json_of_a_backend_names_its_service() {
    let answer = run("lb-ctl backend list shop -j", &director()).await.unwrap();
    assert!(
        answer.text.starts_with(r#"[{"service":"shop","name":"web1","address":"#),
        "{}",
        answer.text
    );
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_told_from_an_empty_list() {
    let agent = director();
    for line in [
        "lb-ctl service show shp",
        "lb-ctl backend show shop web9",
        "lb-ctl backend list shp",
        "lb-ctl health show shop web9",
        "lb-ctl conn list --service shp",
        "lb-ctl conn count --backend web9",
    ] {
        assert_eq!(run(line, &agent).await.unwrap_err().exit(), Exit::NotFound, "{line}");
    }
    assert_eq!(run("lb-ctl conn list --service shop", &agent).await.unwrap().exit, Exit::Done);
}

#[tokio::test]
async fn flows_are_counted_for_the_backends_asked_for() {
    let answer = run("lb-ctl conn count --backend web1 -j", &director()).await.unwrap();
    assert_eq!(answer.text, "[{\"service\":\"shop\",\"backend\":\"web1\",\"flows\":5}]\n");
}

#[tokio::test]
async fn a_list_that_was_cut_short_says_so() {
    let agent = Agent::start(|request, _body| {
        assert_eq!(request, "GET /v1/flows?limit=1&service=shop");
        let flow = r#"{"protocol":"udp","client":"198.51.100.7:4000","vip":"203.0.113.10:53",
            "service":"dns","backend":"ns1","backend_address":"192.0.2.5:53","state":"udp",
            "idle_seconds":0}"#;
        (200, format!(r#"{{"total":2,"flows":[{flow}]}}"#))
    });
    let answer = run("lb-ctl conn list --service shop --limit 1", &agent).await.unwrap();
    assert_eq!(answer.remarks, ["1 of 2 flows listed; --limit lists more"]);
}

#[tokio::test]
async fn drops_leave_out_what_was_not_dropped() {
    let agent = Agent::start(|_request, _body| {
        let count = |verdict, kind, packets| {
            format!(
                r#"{{"verdict":"{verdict}","kind":"{kind}","help":"H.","packets":{packets},"bytes":0}}"#
            )
        };
        let counts = [
            count("to_backend", "forwarded", 9),
            count("fragment", "dropped", 1),
            count("malformed", "dropped", 0),
            count("no_backend", "dropped", 3),
        ];
        (200, format!("[{}]", counts.join(",")))
    });
    for (line, expected) in [
        ("lb-ctl drops --by reason", vec!["no_backend", "fragment"]),
        ("lb-ctl drops --all", vec!["to_backend", "fragment", "malformed", "no_backend"]),
    ] {
        let text = run(line, &agent).await.unwrap().text;
        let shown: Vec<_> =
            text.lines().skip(1).filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(shown, expected, "{line}");
    }
    let json = run("lb-ctl drops -j", &agent).await.unwrap().text;
    assert!(json.contains("malformed") && !json.contains("to_backend"), "{json}");
}

#[tokio::test]
async fn drops_are_counted_by_service_too() {
    let answer = run("lb-ctl drops --by service --all", &director()).await.unwrap();
    assert!(answer.text.starts_with("SERVICE  PACKETS\nshop"), "{}", answer.text);
    let json = run("lb-ctl drops --by service --all -j", &director()).await.unwrap().text;
    assert!(json.starts_with(r#"[{"service":"shop","packets":"#), "{json}");
}

#[tokio::test]
async fn an_invalid_configuration_ends_with_its_problems_and_code_5() {
    let agent = Agent::start(|request, body| {
        assert_eq!(request, "POST /v1/config/check");
        let valid = body.contains("version = 1");
        let problems = if valid { "" } else { "error: no version" };
        let count = usize::from(!valid);
        (200, format!(r#"{{"valid":{valid},"problems":"{problems}","count":{count},"notes":[]}}"#))
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lb.toml");
    let line = format!("lb-ctl config check {}", file.display());

    std::fs::write(&file, "versio = 1").unwrap();
    let answer = run(&line, &agent).await.unwrap();
    assert_eq!((answer.text.as_str(), answer.exit), ("", Exit::InvalidConfig));
    assert_eq!(answer.remarks[0], "error: no version");
    assert!(answer.remarks[1].ends_with("lb.toml has 1 problem"), "{:?}", answer.remarks);

    std::fs::write(&file, "version = 1").unwrap();
    let answer = run(&line, &agent).await.unwrap();
    assert!(answer.text.ends_with("lb.toml is valid\n"), "{}", answer.text);
    assert_eq!(answer.exit, Exit::Done);
}

#[tokio::test]
async fn without_an_agent_a_check_names_the_alternative() {
    let agent = director();
    std::fs::remove_file(agent.socket()).unwrap();
    let file = agent.socket().with_file_name("lb.toml");
    std::fs::write(&file, "version = 1").unwrap();
    let error = run(&format!("lb-ctl config check {}", file.display()), &agent).await.unwrap_err();
    assert_eq!(error.exit(), Exit::Unreachable);
    let command = format!("`lb-agent check {}`", file.display());
    assert!(error.help().unwrap().contains(&command), "{error:?}");
}

#[tokio::test]
async fn without_an_agent_the_clients_version_is_shown_all_the_same() {
    let agent = director();
    std::fs::remove_file(agent.socket()).unwrap();
    let answer = run("lb-ctl version", &agent).await.unwrap();
    assert!(answer.text.starts_with("lb-ctl    0."), "{}", answer.text);
    assert_eq!(answer.exit, Exit::Unreachable);
    assert!(answer.remarks[0].starts_with("error: cannot reach the agent"), "{:?}", answer.remarks);
}

#[tokio::test]
async fn doctor_fails_where_a_check_does() {
    for (ok, exit) in [(true, Exit::Done), (false, Exit::Failed)] {
        let agent = Agent::start(move |_request, _body| {
            (200, format!(r#"[{{"name":"mode","ok":{ok},"detail":"native"}}]"#))
        });
        assert_eq!(run("lb-ctl doctor", &agent).await.unwrap().exit, exit);
    }
}

/// Answers the number of flows left, one less each time, from `flows` on, and never less than `rest`.
fn emptying(flows: u64, rest: u64) -> Agent {
    let left = AtomicU64::new(flows);
    Agent::start(move |request, _body| {
        assert_eq!(request, "GET /v1/flows?limit=0&service=shop&backend=web1");
        let now = left.load(Ordering::Relaxed);
        left.store(now.saturating_sub(1).max(rest), Ordering::Relaxed);
        (200, format!(r#"{{"total":{now},"flows":[]}}"#))
    })
}

#[tokio::test]
async fn a_drain_ends_when_the_last_flow_has_ended() {
    let agent = emptying(3, 0);
    let (which, context) = (web1(), context(&agent, Format::Table));
    let waited =
        wait::until_empty(&which, Duration::from_mins(1), Duration::from_millis(1), &context);
    waited.await.unwrap();
}

#[tokio::test]
async fn a_drain_waits_for_an_agent_that_restarts() {
    let agent = emptying(3, 0);
    let (which, context) = (web1(), context(&agent, Format::Table));
    let (socket, away) = (agent.socket(), agent.socket().with_file_name("away"));
    std::fs::rename(&socket, &away).unwrap();
    let waited =
        wait::until_empty(&which, Duration::from_mins(1), Duration::from_millis(1), &context);
    let returns = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        std::fs::rename(&away, &socket).unwrap();
    };
    let (ended, ()) = tokio::join!(waited, returns);
    ended.unwrap();
}

#[tokio::test]
async fn a_drain_that_takes_too_long_says_how_many_flows_are_left() {
    let agent = emptying(4, 2);
    let (which, context) = (web1(), context(&agent, Format::Table));
    let waited =
        wait::until_empty(&which, Duration::from_millis(400), Duration::from_millis(5), &context);
    let error = waited.await.unwrap_err();
    assert_eq!(error.to_string(), "shop/web1 still has 2 flows after 400ms");
    assert_eq!(error.exit(), Exit::TimedOut);
}
