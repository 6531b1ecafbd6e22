//! A flood of SYNs through services whose answers go past the director: it ends no open connection.

use lb_tests::agent::{Agent, Settings};
use lb_tests::binaries::Binaries;
use lb_tests::flooder::Flooder;
use lb_tests::http_client::Connection;
use lb_tests::stage::Stage;
use lb_tests::way::shop_by;
use lb_tests::web::{PORT, Web};
use lb_tests::world::vips;

use crate::{prepare, world_for};

/// SYNs a second to each VIP, all of which the backend has to answer.
const RATE: u32 = 30_000;
/// Connections that are open meanwhile.
const OPEN: usize = 20;

fn still_serve(open: &mut [Connection]) {
    for connection in open {
        assert_eq!(connection.get("/").unwrap().status, 200);
    }
}

#[test]
fn a_flood_ends_no_open_connection_by_the_ways_past_the_director() {
    for way in ["dsr", "ipip", "gue"] {
        let world = world_for(way);
        let flooder = Flooder::new(&world).unwrap();
        let binaries = Binaries::of_this_profile().unwrap();
        let host = &world.backends[0];
        let _backend = prepare(&world, way);
        let listen = [host.at(PORT), vips(PORT)].concat();
        let webs = vec![Web::start_on(&world, host, &binaries, &listen).unwrap()];
        let Settings { datapath, tables } = shop_by(way, &world);
        // Far fewer than the SYNs.
        let settings = Settings { datapath: format!("{datapath}max_flows = 1024\n"), tables };
        let config = Flooder::joined(&settings.file(&world));
        let agent = Agent::start_from(&world, &binaries, &config, &[]).unwrap();
        let stage = Stage { agent, webs, world: &world, binaries: binaries.clone() };
        stage.agent.wait_until_all_up().unwrap();
        let connect = |vip| stage.connect(vip).unwrap();
        let mut open: Vec<_> = vips(PORT).into_iter().cycle().take(OPEN).map(connect).collect();
        still_serve(&mut open);
        let floods = flooder.start(&world, Some(RATE)).unwrap();
        // Before a packet of theirs could make them known anew.
        let flows = stage.agent.ctl_json(&["conn", "list", "--limit", "100000"]).unwrap();
        let flows = flows["flows"].as_array().unwrap();
        let is_open = |flow: &&serde_json::Value| flow["state"] == "established";
        let n_open = flows.iter().filter(is_open).count();
        println!("{n_open} open of {} flows by {way}", flows.len());
        assert!(n_open >= OPEN, "{n_open} by {way}");
        still_serve(&mut open);
        drop(floods);
        still_serve(&mut open);
        stage.answers(40).unwrap();
    }
}
