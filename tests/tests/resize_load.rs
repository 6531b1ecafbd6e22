//! Another size of the flow table by reload and restart, under load.
#![cfg(feature = "root")]
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that cannot go on panics"
)]

use std::time::Duration;

use lb_tests::agent::{Agent, Settings};
use lb_tests::binaries::Binaries;
use lb_tests::clock::wait_until;
use lb_tests::http_client::Connection;
use lb_tests::load::failures;
use lb_tests::stage::Stage;
use lb_tests::way::{give_vips, shop_by};
use lb_tests::web::{PORT, Web};
use lb_tests::world::{Arms, Host, World, vips};

const N_CONNECTIONS: usize = 20;
const MOVED: &str = "all flows are in the new flow table";
/// The kernel verifies nine programs before the first flow moves.
const MOVED_WITHIN: Duration = Duration::from_mins(2);

/// The shop by some way, with a flow table for this many flows.
fn shop_for(max_flows: u32, way: &str, world: &World) -> Settings {
    let shop = shop_by(way, world);
    Settings { datapath: format!("max_flows = {max_flows}\n{}", shop.datapath), ..shop }
}

/// Connections that stay open, and the backend of each.
struct Open(Vec<(Connection, String)>);

impl Open {
    fn through(stage: &Stage<'_>) -> Self {
        let open = |vip| {
            let (connection, index) = stage.connect_through(vip).unwrap();
            (connection, stage.world.backends[index].name.clone())
        };
        Self(vips(PORT).into_iter().cycle().take(N_CONNECTIONS).map(open).collect())
    }

    fn still_serve(&mut self) {
        for (connection, backend) in &mut self.0 {
            assert_eq!(connection.get("/").unwrap().backend, *backend);
        }
    }
}

fn n_established(stage: &Stage<'_>) -> usize {
    let list = stage.agent.ctl_json(&["conn", "list", "--limit", "100000"]).unwrap();
    let flows = list["flows"].as_array().unwrap();
    flows.iter().filter(|flow| flow["state"] == "established").count()
}

fn n_moved(stage: &Stage<'_>) -> usize {
    stage.agent.process.log().matches(MOVED).count()
}

fn wait_until_moved(stage: &Stage<'_>, times: usize) {
    wait_until("all flows to be moved", MOVED_WITHIN, || Ok(n_moved(stage) == times)).unwrap();
    let status = stage.agent.ctl_json(&["status"]).unwrap();
    assert_eq!(status["warnings"], serde_json::json!([]));
}

/// Has the table take these sizes by reload, under load; no request fails, and no flow is new twice.
fn resize(stage: &Stage<'_>, way: &str, sizes: &[u32]) {
    let mut open = Open::through(stage);
    let load = stage.load().unwrap();
    for (times, max_flows) in (1..).zip(sizes) {
        load.wait_for_more(100).unwrap();
        stage.agent.write_config(&shop_for(*max_flows, way, stage.world)).unwrap();
        stage.agent.ctl_ok(&["reload"]).unwrap();
        wait_until_moved(stage, times);
        assert_eq!(stage.agent.ctl_json(&["status"]).unwrap()["max_flows"], *max_flows);
        open.still_serve();
    }
    load.wait_for_more(100).unwrap();
    let exchanges = load.stop().unwrap();
    assert_eq!(failures(&exchanges), Vec::<&String>::new());
    open.still_serve();
    assert_eq!(n_established(stage), N_CONNECTIONS);
    let services = stage.agent.ctl_json(&["service", "list"]).unwrap();
    let flows = exchanges.len() + N_CONNECTIONS;
    assert_eq!(services[0]["traffic"]["flows_total"], flows, "no flow was new twice: {services}");
}

#[test]
fn the_flow_table_grows_and_shrinks_by_reload_without_one_failed_request() {
    let world = World::new(Arms::Two, 3).unwrap();
    let stage = Stage::set(&world, &shop_for(16_384, "nat", &world)).unwrap();
    resize(&stage, "nat", &[131_072, 8_192]);
}

#[test]
fn flows_whose_backends_know_the_director_alone_move_likewise() {
    let world = World::new(Arms::Two, 3).unwrap();
    let stage = Stage::set(&world, &shop_for(16_384, "full-nat", &world)).unwrap();
    resize(&stage, "full-nat", &[131_072]);
}

#[test]
fn flows_whose_replies_do_not_pass_the_director_move_likewise() {
    let world = World::new(Arms::One, 3).unwrap();
    let binaries = Binaries::of_this_profile().unwrap();
    let start = |host: &Host| {
        give_vips(host).unwrap();
        let listen = [host.at(PORT), vips(PORT)].concat();
        Web::start_on(&world, host, &binaries, &listen).unwrap()
    };
    let webs: Vec<_> = world.backends.iter().map(start).collect();
    let agent = Agent::start(&world, &binaries, &shop_for(16_384, "dsr", &world)).unwrap();
    agent.wait_until_all_up().unwrap();
    let stage = Stage { agent, webs, world: &world, binaries: binaries.clone() };
    resize(&stage, "dsr", &[131_072]);
}

#[test]
fn an_agent_that_is_killed_while_flows_move_is_followed_by_one_that_moves_the_rest() {
    let world = World::new(Arms::Two, 2).unwrap();
    let mut stage = Stage::set(&world, &shop_for(16_384, "nat", &world)).unwrap();
    let mut open = Open::through(&stage);
    let load = stage.load().unwrap();
    load.wait_for_more(50).unwrap();
    stage.agent.write_config(&shop_for(65_536, "nat", &world)).unwrap();
    stage.agent.ctl_ok(&["reload"]).unwrap();
    wait_until("flows to be moved", MOVED_WITHIN, || {
        let status = stage.agent.ctl_json(&["status"])?;
        let (left, cells) = (&status["flow_move"]["cells_left"], &status["flow_move"]["cells"]);
        Ok(left.as_u64() > Some(0) && left.as_u64() <= cells.as_u64())
    })
    .unwrap();
    let page = stage.agent.ctl_ok(&["status"]).unwrap();
    assert!(page.contains("moving to a table of this size: "), "{page}");
    stage.agent.process.kill().unwrap();
    assert_eq!(n_moved(&stage), 0, "it was killed before the end");
    load.wait_for_more(100).unwrap();
    open.still_serve();
    stage.agent.restart().unwrap();
    wait_until_moved(&stage, 1);
    load.wait_for_more(50).unwrap();
    assert_eq!(failures(&load.stop().unwrap()), Vec::<&String>::new());
    open.still_serve();
    assert_eq!(n_established(&stage), N_CONNECTIONS);
}

#[test]
fn an_agent_that_is_killed_while_maps_are_made_is_followed_by_one_that_begins_anew() {
    let world = World::new(Arms::Two, 2).unwrap();
    let mut stage = Stage::set(&world, &shop_for(16_384, "nat", &world)).unwrap();
    let mut open = Open::through(&stage);
    let load = stage.load().unwrap();
    stage.agent.write_config(&shop_for(65_536, "nat", &world)).unwrap();
    stage.agent.ctl_ok(&["reload"]).unwrap();
    stage.agent.process.kill().unwrap();
    load.wait_for_more(50).unwrap();
    stage.agent.restart().unwrap();
    // The file says so, and the maps that the first one left are of the old size.
    wait_until_moved(&stage, 1);
    load.wait_for_more(50).unwrap();
    assert_eq!(failures(&load.stop().unwrap()), Vec::<&String>::new());
    open.still_serve();
    assert_eq!(n_established(&stage), N_CONNECTIONS);
}
