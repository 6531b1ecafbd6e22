//! Direct server return: backends have the VIP, and answer the client past the director.

use lb_tests::agent::Agent;
use lb_tests::binaries::Binaries;
use lb_tests::stage::Stage;
use lb_tests::web::{PORT, Web};
use lb_tests::world::{Arms, Host, World, vips};

use lb_tests::way::{give_vips, shop_by};

use crate::exchange;

#[test]
fn backends_answer_clients_directly_with_the_vip() {
    let world = World::new(Arms::One, 2).unwrap();
    let binaries = Binaries::of_this_profile().unwrap();
    let start = |host: &Host| {
        give_vips(host).unwrap();
        let listen = [host.at(PORT), vips(PORT)].concat();
        Web::start_on(&world, host, &binaries, &listen).unwrap()
    };
    let webs: Vec<_> = world.backends.iter().map(start).collect();
    let agent = Agent::start(&world, &binaries, &shop_by("dsr", &world)).unwrap();
    agent.wait_until_all_up().unwrap();
    let mut stage = Stage { agent, webs, world: &world, binaries: binaries.clone() };
    let counts = stage.answers(40).unwrap();
    assert_eq!(counts.into_values().collect::<Vec<_>>(), [20, 20]);
    for vip in vips(PORT) {
        exchange(&stage, vip);
    }
    assert_eq!(stage.packets("to_client").unwrap(), 0, "no reply passes the director");

    let (mut connection, index) = stage.connect_through(vips(PORT)[0]).unwrap();
    let port = connection.local_address().unwrap().port();
    let flows = stage.agent.ctl_json(&["conn", "list"]).unwrap();
    let flows = flows["flows"].as_array().unwrap();
    let client = format!("198.51.100.10:{port}");
    let flow = flows.iter().find(|flow| flow["client"] == client.as_str()).unwrap();
    assert_eq!(flow["state"], "established", "{flow}");
    stage.kill_web(index).unwrap();
    stage.agent.wait_for_health(&world.backends[index].name, "down").unwrap();
    connection.get("/").unwrap_err();
    assert_eq!(stage.answers(10).unwrap().len(), 1);
}
