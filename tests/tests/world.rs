//! The world itself, before anything of Sluice is in it: what later tests take for granted.
#![cfg(feature = "root")]

use std::path::Path;
use std::time::Duration;

use lb_tests::binaries::Binaries;
use lb_tests::clock::wait_until;
use lb_tests::http_client::{Connection, get};
use lb_tests::http_server::{digest, pattern};
use lb_tests::load::Load;
use lb_tests::stale;
use lb_tests::web::{PORT, Web};
use lb_tests::world::{Arms, World, ping};

const TIMEOUT: Duration = Duration::from_secs(5);

/// Who cannot reach the client at which address.
fn unreachable_from_backends(arms: Arms) -> anyhow::Result<Vec<String>> {
    let world = World::new(arms, 3)?;
    let addresses = world.client.at(0).map(|address| address.ip());
    let mut unreachable = Vec::new();
    for (host, address) in world.backends.iter().flat_map(|host| addresses.map(|at| (host, at))) {
        if !ping(&host.namespace, address)? {
            unreachable.push(format!("{} to {address}", host.name));
        }
    }
    Ok(unreachable)
}

#[test]
fn backends_reach_the_client_through_a_director_with_two_arms() {
    assert_eq!(unreachable_from_backends(Arms::Two).unwrap(), Vec::<String>::new());
}

#[test]
fn backends_reach_the_client_through_a_director_with_one_arm() {
    assert_eq!(unreachable_from_backends(Arms::One).unwrap(), Vec::<String>::new());
}

#[test]
fn a_backend_serves_http_over_both_families() {
    let world = World::new(Arms::Two, 1).unwrap();
    let _web = Web::start_all(&world, &Binaries::of_this_profile().unwrap()).unwrap();
    world
        .client
        .namespace
        .enter(|| {
            for address in world.backends[0].at(PORT) {
                let mut connection = Connection::open(address, TIMEOUT).unwrap();
                assert_eq!(connection.get("/").unwrap().body, b"web1");
                assert_eq!(connection.get("/healthz").unwrap().status, 200);
                assert_eq!(connection.get("/bytes/100000").unwrap().body, pattern(100_000));
                assert_eq!(connection.get("/slow/10").unwrap().backend, "web1");
                assert_eq!(connection.get("/nothing").unwrap().status, 404);
                let sent = pattern(100_000);
                let answer = connection.post("/echo-hash", &sent).unwrap();
                assert_eq!(answer.body, digest(&sent).as_bytes());
            }
        })
        .unwrap();
}

#[test]
fn a_load_tells_when_a_server_was_killed() {
    let world = World::new(Arms::Two, 1).unwrap();
    let mut web = Web::start_all(&world, &Binaries::of_this_profile().unwrap()).unwrap();
    let load = Load::start(&world.client.namespace, &world.backends[0].at(PORT)).unwrap();
    load.wait_for_more(100).unwrap();
    web[0].process.kill().unwrap();
    load.wait_for_more(10).unwrap();
    let outcomes: Vec<_> = load.stop().unwrap().into_iter().map(|it| it.outcome).collect();
    assert_eq!(outcomes[0].as_deref(), Ok("web1"));
    assert!(outcomes.last().unwrap().as_ref().unwrap_err().contains("refused"));
}

#[test]
fn a_world_leaves_nothing_behind_even_where_a_test_panics() {
    let mut name = String::new();
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let world = World::new(Arms::One, 1).unwrap();
        world.name().clone_into(&mut name);
        std::fs::create_dir(world.pin_path()).unwrap();
        panic!("as a test that fails does");
    }));
    assert!(outcome.is_err());
    for role in ["client", "director", "switch", "web1"] {
        assert!(!Path::new("/run/netns").join(format!("{name}-{role}")).exists(), "{role}");
    }
    assert!(!Path::new("/sys/fs/bpf").join(name).exists());
}

#[test]
fn a_world_that_was_kept_is_removed_by_its_name_with_its_processes() {
    let name = format!("{}-kept", stale::unique_name());
    let world = World::create(&name, Arms::One, 1).unwrap();
    let binaries = Binaries::of_this_profile().unwrap();
    let mut web = Web::start(&world, &world.backends[0], &binaries).unwrap();
    world.keep();
    let folder = world.folder().to_owned();
    drop(world);
    stale::remove_world(&name).unwrap();
    assert!(!folder.exists());
    wait_until("the server to be killed", TIMEOUT, || Ok(!web.process.is_running()?)).unwrap();
    assert!(!Path::new("/run/netns").join(format!("{name}-web1")).exists());
    drop(web);
}

#[test]
fn a_server_that_is_gone_is_an_error_that_names_its_address() {
    let world = World::new(Arms::One, 1).unwrap();
    let address = world.backends[0].at(PORT)[1];
    let error = world.client.namespace.enter(|| get(address, "/", TIMEOUT)).unwrap().unwrap_err();
    assert!(format!("{error:#}").contains("[2001:db8:2::11]:80"), "{error:#}");
}
