//! What directors have in common besides flows: cookies, and what is remembered of sources.

use lb_tests::agent::Agent;
use lb_tests::command::run;
use lb_tests::http_client::Connection;
use lb_tests::load::TIMEOUT;

use super::directors::{KEY, Part, Worlds, both_vips, wait_for_flows, wait_until_in_step};
use super::moved_vip::start;

/// Loses what the client acknowledges.
const NO_ACKS: &str = "table inet lost { chain out { type filter hook output priority 0;
    tcp dport 80 tcp flags & (syn | ack) == ack drop; }; }";

#[test]
fn a_handshake_by_cookie_begins_at_one_director_and_ends_at_another_that_was_started_meanwhile() {
    let worlds = Worlds::new(2).unwrap();
    let services = format!("[firewall]\nsyn_cookies = \"always\"\n{}", worlds.shop("nat", "rr"));
    let start = |index| {
        let agent = worlds.start(index, &Part { datapath: "", services: &services, key: KEY });
        let agent = agent.unwrap();
        agent.wait_until_all_up().unwrap();
        agent.wait_for_cookies().unwrap();
        agent
    };
    let n_accepted = |agent: &Agent<'_>| {
        let rows = agent.ctl_json(&["drops", "--all"]).unwrap();
        let row =
            rows.as_array().unwrap().iter().find(|row| row["verdict"] == "syn_cookie_accepted");
        row.and_then(|row| row["packets"].as_u64()).unwrap()
    };
    let first = start(0);
    let client = &worlds.each[0].client.namespace;
    run(client.command("nft").arg(NO_ACKS)).unwrap();
    let mut open = both_vips().map(|vip| worlds.connect(vip).unwrap());
    assert_eq!(n_accepted(&first), 0, "nobody has heard of the answers");
    let second = start(1);
    worlds.move_to(1).unwrap();
    run(client.command("nft").args(["delete", "table", "inet", "lost"])).unwrap();
    for connection in &mut open {
        connection.send("/").unwrap();
    }
    let names = open.each_mut().map(|connection| connection.read_answer().unwrap().backend);
    assert_eq!([&first, &second].map(n_accepted), [0, 2]);
    // Their numbers are rewritten, which the first one is told.
    wait_for_flows(&first, 2).unwrap();
    wait_until_in_step([&first, &second]).unwrap();
    worlds.move_to(0).unwrap();
    assert_eq!(open.each_mut().map(|connection| connection.get("/").unwrap().backend), names);
}

#[test]
fn a_source_is_sent_to_its_backend_by_the_other_director_too() {
    let worlds = Worlds::new(3).unwrap();
    let affinity = "affinity = { by = \"source\", timeout = \"5m\" }\nscheduler";
    let services = worlds.shop("nat", "random").replace("scheduler", affinity);
    let [_first, second] = start(&worlds, "", &services);
    let sources: Vec<_> = (50..58).map(|last| format!("198.51.100.{last}")).collect();
    let client = &worlds.each[0].client.namespace;
    for source in &sources {
        client.ip(&format!("address add {source}/24 dev eth0")).unwrap();
    }
    let backend_of = |source: &String| {
        let open = || Connection::open_at(source.parse().unwrap(), both_vips()[0], TIMEOUT);
        let mut connection = client.enter(open).unwrap().unwrap();
        let backend = connection.get("/").unwrap().backend;
        (connection, backend)
    };
    let (open, before): (Vec<_>, Vec<_>) = sources.iter().map(backend_of).unzip();
    wait_for_flows(&second, 8).unwrap();
    drop(open);
    worlds.move_to(1).unwrap();
    let (_open, after): (Vec<_>, Vec<_>) = sources.iter().map(backend_of).unzip();
    assert_eq!(after, before);
}
