//! No connection of a living backend moves, whatever is changed about the backends meanwhile: by `lb-ctl` and
//! reloads, with real connections through the real agent. `unmoved_flows` looks at all ways of forwarding, in memory.
#![cfg(feature = "root")]
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on panics"
)]
#![expect(unreachable_pub, reason = "a module that several tests share")]

#[expect(dead_code, reason = "another test uses the rest")]
#[path = "kernel_equality/random.rs"]
mod random;

use std::collections::BTreeSet;

use lb_tests::agent::{Settings, service};
use lb_tests::http_client::Connection;
use lb_tests::stage::Stage;
use lb_tests::web::PORT;
use lb_tests::world::{Arms, World, vips};

use random::Random;

const CHANGES: usize = 1_000;
/// After so many changes all connections are used.
const CHANGES_A_LOOK: usize = 20;
const CONNECTIONS: usize = 200;
const BACKENDS: u8 = 6;
const SCHEDULERS: [&str; 7] = ["rr", "wrr", "lc", "wlc", "sh", "maglev", "random"];
/// A service each, of the same backends, over IPv4 and over IPv6.
const WAYS: [&str; 2] = ["nat", "full-nat"];

/// A connection, and what it must not leave.
struct Held {
    connection: Connection,
    way: &'static str,
    backend: String,
}

/// Two services whose backends change while connections are open.
struct Shops<'w> {
    stage: Stage<'w>,
    random: Random,
    held: Vec<Held>,
    deleted: BTreeSet<(&'static str, String)>,
    next_port: u16,
}

/// A service for each way, with schedulers that are drawn.
fn settings(world: &World, random: &mut Random) -> Settings {
    let mut of = |way: &str, vip| {
        let scheduler = random.pick(&SCHEDULERS);
        let options = format!("forward = {way:?}\nscheduler = {scheduler:?}");
        service(way, &[vip], &options, world)
    };
    let tables: Vec<_> = WAYS.into_iter().zip(vips(PORT)).map(|(way, vip)| of(way, vip)).collect();
    let sources =
        r#"full_nat = { sources = ["192.0.2.1", "2001:db8:2::1"], ports = "20000-29999" }"#;
    Settings { datapath: sources.to_owned(), tables: tables.concat() }
}

impl Shops<'_> {
    /// Opens connections through both VIPs until there are enough.
    fn open(&mut self) {
        for (way, vip) in WAYS.into_iter().zip(vips(PORT)).cycle() {
            if self.held.len() == CONNECTIONS {
                return;
            }
            self.next_port += 1;
            let mut connection = self.stage.connect_from(self.next_port, vip).unwrap();
            let backend = connection.get("/").unwrap().backend;
            self.held.push(Held { connection, way, backend });
        }
    }

    /// Changes schedulers, or something about a backend.
    fn change(&mut self) {
        if self.random.chance(10) {
            let settings = settings(self.stage.world, &mut self.random);
            self.stage.agent.write_config(&settings).unwrap();
            self.stage.agent.ctl_ok(&["reload"]).unwrap();
            return;
        }
        let way = self.random.pick(&WAYS);
        let number = self.random.below(BACKENDS.into());
        let backend = self.stage.world.backends[number].name.clone();
        if self.deleted.remove(&(way, backend.clone())) {
            let addresses = self.stage.world.backends[number].at(PORT).map(|at| at.to_string());
            return self.order(&["add", way, &backend, &addresses[0], &addresses[1]]);
        }
        // The first takes connections at any time.
        let kind = self.random.below(if number == 0 { 2 } else { 12 });
        self.change_backend(kind, way, &backend);
    }

    fn change_backend(&mut self, kind: usize, way: &'static str, backend: &str) {
        let weight = self.random.pick(&["1", "30", "100", "333"]);
        let is_backup = self.random.pick(&["true", "false"]);
        match kind {
            0 | 1 => self.order(&["weight", way, backend, weight]),
            2 => self.order(&["weight", way, backend, "0"]),
            3 => self.order(&["set", way, backend, "--backup", is_backup]),
            4 | 5 => self.order(&["drain", way, backend]),
            6 => self.order(&["maint", way, backend]),
            7 => self.order(&["delete", way, backend]),
            _ => self.order(&["ready", way, backend]),
        }
        if kind == 7 {
            self.deleted.insert((way, backend.to_owned()));
        }
        if kind == 6 || kind == 7 {
            self.held.retain(|held| (held.way, held.backend.as_str()) != (way, backend));
        }
    }

    fn order(&self, words: &[&str]) {
        self.stage.agent.ctl_ok(&[&["backend"], words].concat()).unwrap();
    }

    /// Uses all connections.
    fn look(&mut self, n_changes: usize) {
        for Held { connection, way, backend } in &mut self.held {
            let answer = connection.get("/");
            let answer = answer
                .unwrap_or_else(|e| panic!("{way} to {backend} after {n_changes} changes: {e:#}"));
            assert_eq!(answer.backend, *backend, "{way} after {n_changes} changes");
        }
    }
}

#[test]
fn no_connection_of_a_living_backend_moves_over_a_thousand_changes() {
    let world = World::new(Arms::Two, BACKENDS).unwrap();
    let mut random = Random::new(1_234_567);
    let stage = Stage::set(&world, &settings(&world, &mut random)).unwrap();
    let (held, deleted, next_port) = (Vec::new(), BTreeSet::new(), 10_000);
    let mut shops = Shops { stage, random, held, deleted, next_port };
    for n_changes in (CHANGES_A_LOOK..=CHANGES).step_by(CHANGES_A_LOOK) {
        shops.open();
        (0..CHANGES_A_LOOK).for_each(|_| shops.change());
        shops.look(n_changes);
    }
    println!("{} connections were opened", shops.next_port - 10_000);
}
