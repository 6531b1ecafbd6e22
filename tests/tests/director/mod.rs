//! A director of one network namespace, for tests of the kernel side of the agent.
#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use aya::maps::{Map, MapData};
use lb_agent::model::config::{Datapath, Fragments, FullNat, Timeouts, Tunnel, XdpMode};
use nix::sched::{CloneFlags, unshare};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// The thread that a test runs on: in a network namespace and with a pin folder of its own.
pub struct Director {
    pins: PathBuf,
}

/// Runs a test on a new director with one interface, `nic`; the other end of its wire is `peer`.
pub fn on_a_director(test: impl FnOnce(&Director) + Send) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("these tests need root");
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = format!("lb-test-{}-{number}", std::process::id());
            let director = Director { pins: Path::new("/sys/fs/bpf").join(name) };
            ip("link set lo up");
            add_wire("nic", "peer");
            test(&director);
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

impl Director {
    /// Its pin folder.
    pub fn pins(&self) -> &Path {
        &self.pins
    }

    /// A configuration that attaches to these interfaces.
    pub fn config(&self, interfaces: &[&str]) -> Datapath {
        let second = Duration::from_secs(1);
        Datapath {
            interfaces: interfaces.iter().map(ToString::to_string).collect(),
            pin_path: self.pins.clone(),
            manage_addresses: true,
            xdp_mode: XdpMode::Auto,
            max_flows: 1024,
            timeouts: Timeouts {
                tcp_syn: second,
                tcp_established: second,
                tcp_fin: second,
                udp: second,
            },
            fragments: Fragments::Follow,
            full_nat: FullNat { sources: Vec::new(), ports: 20_000..=60_999 },
            tunnel: Tunnel { sources: Vec::new(), gue_port: 6_080 },
        }
    }
}

impl Drop for Director {
    fn drop(&mut self) {
        if let Err(error) = lb_agent::io::datapath::detach(&self.pins) {
            eprintln!("{error}");
        }
    }
}

/// Adds two interfaces joined by a wire, both up.
pub fn add_wire(a: &str, b: &str) {
    ip(&format!("link add {a} type veth peer name {b}"));
    for end in [a, b] {
        std::fs::write(format!("/proc/sys/net/ipv6/conf/{end}/accept_dad"), "0").unwrap();
        ip(&format!("link set {end} up"));
    }
}

/// Runs `ip` in the namespace of this thread, and returns what it printed.
pub fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// A pinned map.
pub fn map_of<M: TryFrom<Map>>(pins: &Path, name: &str) -> M {
    let map = Map::from_map_data(MapData::from_pin(pins.join(name)).unwrap()).unwrap();
    M::try_from(map).ok().unwrap()
}

/// Parses an address.
pub fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A host at the other end of the wire, in a namespace of its own that lives as long as this value.
pub struct Neighbour {
    commands: Sender<String>,
    done: Receiver<()>,
}

impl Neighbour {
    /// Moves `peer` to a new namespace.
    pub fn behind_the_wire() -> Self {
        let (commands, inbox) = channel::<String>();
        let (ready, done) = channel();
        let (report, thread_id) = channel();
        std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            report.send(nix::unistd::gettid()).unwrap();
            for command in inbox {
                ip(&command);
                ready.send(()).unwrap();
            }
        });
        ip(&format!("link set peer netns {}", thread_id.recv().unwrap()));
        Self { commands, done }
    }

    /// Runs `ip` there.
    pub fn ip(&self, arguments: &str) {
        self.commands.send(arguments.to_owned()).unwrap();
        self.done.recv().unwrap();
    }
}
