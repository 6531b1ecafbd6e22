//! The agent's own life: killed, started again with the same configuration or another, stopped.
#![cfg(feature = "root")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use lb_tests::agent::{Agent, METRICS, shop, write_config};
use lb_tests::binaries::Binaries;
use lb_tests::clock::{now, pause, wait_for};
use lb_tests::command::run;
use lb_tests::http_client::{Connection, get};
use lb_tests::load::{Load, TIMEOUT, failures};
use lb_tests::losses::losses;
use lb_tests::stage::Stage;
use lb_tests::web::{PORT, Web};
use lb_tests::world::{Arms, World, vips};
use nix::sys::signal::{SigSet, Signal};

/// However many clients are connected, an agent that is told to stop stops.
const STOPS_WITHIN: Duration = Duration::from_secs(2);

/// A busy machine takes its time to verify programs.
const STARTS_WITHIN: Duration = Duration::from_mins(1);

#[test]
fn traffic_flows_while_the_agent_is_killed_and_another_takes_over() {
    let world = World::new(Arms::Two, 3).unwrap();
    let mut stage = Stage::shop(&world).unwrap();
    let (mut connection, index) = stage.connect_through(vips(PORT)[0]).unwrap();
    let lost_before = losses(&world.backends).unwrap();
    let load = stage.load().unwrap();
    load.wait_for_more(100).unwrap();
    stage.agent.process.kill().unwrap();
    load.wait_for_more(200).unwrap();
    stage.agent.restart().unwrap();
    stage.agent.wait_until_all_up().unwrap();
    load.wait_for_more(200).unwrap();
    let exchanges = load.stop().unwrap();
    assert_eq!(failures(&exchanges), Vec::<&String>::new());
    assert_eq!(losses(&world.backends).unwrap(), lost_before);
    assert_eq!(connection.get("/").unwrap().backend, world.backends[index].name);
    let services = stage.agent.ctl_json(&["service", "list"]).unwrap();
    // One more: the connection that was open all the time.
    assert_eq!(services[0]["traffic"]["flows_total"], exchanges.len() + 1, "{services}");
    for backend in services[0]["backends"].as_array().unwrap() {
        let fair = u64::try_from(exchanges.len() / 3).unwrap();
        let flows = backend["traffic"]["flows_total"].as_u64().unwrap();
        assert!((fair..=fair + 1).contains(&flows), "the rotation went on: {services}");
    }
}

#[test]
fn an_agent_that_hangs_is_silent_and_then_ended_as_by_a_panic_and_traffic_flows() {
    let world = World::new(Arms::Two, 2).unwrap();
    let path = world.folder().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_nonblocking(true).unwrap();
    let n_heard = || std::iter::from_fn(|| manager.recv(&mut [0; 512]).ok()).count();
    let binaries = Binaries::of_this_profile().unwrap();
    let _webs = Web::start_all(&world, &binaries).unwrap();
    let path = path.display().to_string();
    let variables = [("NOTIFY_SOCKET", path.as_str()), ("WATCHDOG_USEC", "200000")];
    let config = shop(&world).file(&world);
    let mut agent = Agent::start_from(&world, &binaries, &config, &variables).unwrap();
    agent.wait_until_all_up().unwrap();
    let mut connection =
        world.client.namespace.enter(|| Connection::open(vips(PORT)[0], TIMEOUT)).unwrap().unwrap();
    let backend = connection.get("/").unwrap().backend;
    let load = Load::start(&world.client.namespace, &vips(PORT)).unwrap();
    load.wait_for_more(20).unwrap();

    agent.process.signal(Signal::SIGSTOP).unwrap();
    n_heard();
    // Several times the watchdog's patience.
    pause(Duration::from_secs(1));
    assert_eq!(n_heard(), 0, "the loop does not turn, so nothing is said");
    // What systemd then sends is what a panic ends the agent with.
    agent.process.signal(Signal::SIGABRT).unwrap();
    agent.process.signal(Signal::SIGCONT).unwrap();
    let status = agent.process.wait(TIMEOUT).unwrap();
    assert_eq!(status.signal(), Some(nix::libc::SIGABRT));
    load.wait_for_more(50).unwrap();
    agent.restart().unwrap();
    load.wait_for_more(50).unwrap();
    let exchanges = load.stop().unwrap();
    assert_eq!(failures(&exchanges), Vec::<&String>::new());
    assert_eq!(connection.get("/").unwrap().backend, backend);
    let services = agent.ctl_json(&["service", "list"]).unwrap();
    assert_eq!(services[0]["traffic"]["flows_total"], exchanges.len() + 1, "{services}");
}

#[test]
fn an_agent_starts_again_with_another_configuration_under_load() {
    let world = World::new(Arms::Two, 2).unwrap();
    let mut stage = Stage::shop(&world).unwrap();
    let load = stage.load().unwrap();
    load.wait_for_more(50).unwrap();
    stage.agent.process.kill().unwrap();
    let text = shop(&world).file(&world);
    let more = text.replace("\"203.0.113.10:80\"", "\"203.0.113.10:80\", \"203.0.113.10:8080\"");
    write_config(&world, &more).unwrap();
    stage.agent.restart().unwrap();
    stage.agent.wait_until_all_up().unwrap();
    let mut connection = stage.connect(vips(8080)[0]).unwrap();
    assert_eq!(connection.get("/").unwrap().status, 200);
    load.wait_for_more(50).unwrap();
    assert_eq!(failures(&load.stop().unwrap()), Vec::<&String>::new());
    stage.agent.process.kill().unwrap();
    write_config(&world, &text).unwrap();
    stage.agent.restart().unwrap();
    assert!(stage.connect(vips(8080)[0]).is_err(), "the listener is gone");
    assert_eq!(stage.answering(4).unwrap().len(), 2);
}

#[test]
fn a_dead_backend_stays_dead_for_the_next_agent() {
    let world = World::new(Arms::Two, 2).unwrap();
    let mut stage = Stage::quick_shop(&world).unwrap();
    stage.kill_web(0).unwrap();
    stage.agent.wait_for_health("web1", "down").unwrap();
    let load = stage.load().unwrap();
    load.wait_for_more(20).unwrap();
    stage.agent.process.kill().unwrap();
    stage.agent.restart().unwrap();
    load.wait_for_more(100).unwrap();
    assert_eq!(failures(&load.stop().unwrap()), Vec::<&String>::new());
}

#[test]
fn an_agent_that_stops_leaves_traffic_running() {
    let world = World::new(Arms::Two, 2).unwrap();
    let mut stage = Stage::shop(&world).unwrap();
    let load = stage.load().unwrap();
    load.wait_for_more(20).unwrap();
    let status = stage.agent.process.terminate(STOPS_WITHIN).unwrap();
    assert_eq!(status.code(), Some(0), "{}", stage.agent.process.log());
    load.wait_for_more(50).unwrap();
    assert_eq!(failures(&load.stop().unwrap()), Vec::<&String>::new());
    assert!(!world.folder().join("lb.sock").exists());
}

/// What the director's kernel has of an agent.
fn traces(world: &World) -> String {
    let show = |what: &str| run(world.director.command("ip").args([what, "show"])).unwrap();
    let lines = [show("link"), show("address")].concat();
    let of_agent = |line: &&str| line.contains("xdp") || line.contains("203.0.113.10");
    let mut traces: Vec<_> = lines.lines().filter(of_agent).map(str::to_owned).collect();
    if let Ok(pins) = world.pin_path().read_dir() {
        traces.extend(pins.flatten().map(|pin| pin.path().display().to_string()));
    }
    traces.join("\n")
}

#[test]
fn an_agent_that_detaches_when_it_stops_leaves_nothing_in_the_kernel() {
    let world = World::new(Arms::Two, 1).unwrap();
    let mut stage = Stage::shop(&world).unwrap();
    assert!(traces(&world).contains("xdp"));
    let text = shop(&world).file(&world).replace("\"keep\"", "\"detach\"");
    write_config(&world, &text).unwrap();
    stage.agent.ctl_ok(&["reload"]).unwrap();
    stage.agent.process.terminate(STOPS_WITHIN).unwrap();
    assert_eq!(traces(&world), "");
    assert!(stage.connect(vips(PORT)[0]).is_err());
}

#[test]
fn detaching_after_the_agent_has_stopped_leaves_nothing_in_the_kernel() {
    let world = World::new(Arms::Two, 1).unwrap();
    let mut stage = Stage::shop(&world).unwrap();
    stage.agent.process.terminate(STOPS_WITHIN).unwrap();
    assert!(traces(&world).contains("203.0.113.10"));
    lb_tests::agent::detach(&world, &stage.binaries).unwrap();
    assert_eq!(traces(&world), "");
}

#[test]
fn changes_that_could_not_be_saved_are_saved_as_soon_as_they_can_be() {
    let world = World::new(Arms::Two, 2).unwrap();
    let stage = Stage::shop(&world).unwrap();
    let state_folder = world.folder().join("state");
    std::fs::remove_dir_all(&state_folder).unwrap();
    std::fs::write(&state_folder, "in the way of the folder").unwrap();
    let output = stage.agent.ctl(&["backend", "weight", "shop", "web1", "7"]).unwrap();
    assert!(!output.status.success());
    let ready = || {
        let answer = world.director.enter(|| get(METRICS, "/readyz", TIMEOUT))??;
        Ok((answer.status == 200).then_some(()))
    };
    assert_eq!(ready().unwrap(), None);
    std::fs::remove_file(&state_folder).unwrap();
    wait_for("the agent to be ready", TIMEOUT, ready).unwrap();
    let saved = std::fs::read_to_string(state_folder.join("overlay.json")).unwrap();
    assert!(saved.contains("web1"), "{saved}");
}

#[test]
fn silent_clients_and_blocked_signals_do_not_keep_the_agent_from_stopping() {
    let world = World::new(Arms::Two, 1).unwrap();
    let binaries = Binaries::of_this_profile().unwrap();
    // A child inherits the signals that its parent blocks.
    let blocked: SigSet = [Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
    blocked.thread_block().unwrap();
    let mut agent = Agent::start(&world, &binaries, &shop(&world)).unwrap();
    blocked.thread_unblock().unwrap();
    let api = std::os::unix::net::UnixStream::connect(world.folder().join("lb.sock")).unwrap();
    let metrics = world.director.enter(|| std::net::TcpStream::connect(METRICS)).unwrap().unwrap();
    let told_at = now();
    let status = agent.process.terminate(TIMEOUT).unwrap();
    assert_eq!(status.code(), Some(0));
    assert!(now() - told_at < STOPS_WITHIN, "it took {:?}", now() - told_at);
    drop((api, metrics));
}

#[test]
fn the_service_manager_is_told_of_start_reload_and_stop() {
    let world = World::new(Arms::Two, 1).unwrap();
    let binaries = Binaries::of_this_profile().unwrap();
    let path = world.folder().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_nonblocking(true).unwrap();
    let path = path.display().to_string();
    let variables = [("NOTIFY_SOCKET", path.as_str()), ("WATCHDOG_USEC", "200000")];
    let _webs = Web::start_all(&world, &binaries).unwrap();
    let mut agent =
        Agent::start_from(&world, &binaries, &shop(&world).file(&world), &variables).unwrap();
    let heard = |text: &str| {
        wait_for(text, TIMEOUT, || {
            let mut buffer = [0; 512];
            let Ok(length) = manager.recv(&mut buffer) else { return Ok(None) };
            let message = String::from_utf8_lossy(&buffer[..length]).into_owned();
            Ok(message.contains(text).then_some(message))
        })
        .unwrap()
    };
    assert!(heard("READY=1").contains("STATUS=services: 1, backends serving: 1 of 1"));
    agent.ctl_ok(&["backend", "drain", "shop", "web1"]).unwrap();
    heard("STATUS=services: 1, backends serving: 0 of 1");
    heard("WATCHDOG=1");
    agent.process.signal(Signal::SIGHUP).unwrap();
    assert!(heard("RELOADING=1").contains("MONOTONIC_USEC="));
    heard("READY=1");
    agent.process.terminate(STOPS_WITHIN).unwrap();
    heard("STOPPING=1");
}

#[test]
fn readiness_waits_for_the_first_probes_and_liveness_does_not() {
    let world = World::new(Arms::Two, 1).unwrap();
    let binaries = Binaries::of_this_profile().unwrap();
    world.unplug("web1").unwrap();
    write_config(&world, &shop(&world).file(&world)).unwrap();
    let mut process = lb_tests::agent::spawn(&world, &binaries).unwrap();
    let status = |path: &str| {
        let answer = world.director.enter(|| get(METRICS, path, TIMEOUT)).unwrap();
        Ok(answer
            .ok()
            .map(|answer| (answer.status, String::from_utf8_lossy(&answer.body).into_owned())))
    };
    let (code, reason) = wait_for("an answer", STARTS_WITHIN, || status("/readyz")).unwrap();
    assert_eq!(code, 503, "{reason}");
    assert!(reason.contains("no probe has ended yet"), "{reason}");
    assert_eq!(status("/livez").unwrap().unwrap().0, 200);
    let ready = || Ok(status("/readyz")?.filter(|(code, _)| *code == 200));
    wait_for("the agent to be ready", TIMEOUT, ready).unwrap();
    process.terminate(STOPS_WITHIN).unwrap();
    lb_tests::agent::detach(&world, &binaries).unwrap();
}
