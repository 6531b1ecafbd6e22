//! The agent with the three capabilities that the README names, as a user who is not root; and without one of them.
#![cfg(feature = "root")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use lb_tests::agent::{Agent, config_file, detach, shop, write_config};
use lb_tests::binaries::Binaries;
use lb_tests::load::{TIMEOUT, failures};
use lb_tests::stage::Stage;
use lb_tests::web::Web;
use lb_tests::world::{Arms, World};

/// `nobody`.
const USER: u32 = 65_534;
/// Bits 12, 38 and 39 of linux/capability.h: `CAP_NET_ADMIN`, `CAP_PERFMON` and `CAP_BPF`.
const CAPABILITIES: &str = "000000c000001000";

/// The root of the BPF file system is closed to all but root, so that the pin folder is put, in a mount
/// namespace, where the user reaches it by the same path.
fn script(world: &World, agent: &Path) -> String {
    let (pins, hand) = (world.pin_path(), world.folder().join("pins"));
    let (pins, hand, agent) = (pins.display(), hand.display(), agent.display());
    format!(
        "#!/bin/sh
set -e
[ \"$1\" = --inside ] || exec unshare --mount \"$0\" --inside \"$@\"
shift
mount --bind {pins} {hand}
mount -t tmpfs -o mode=755 tmpfs /sys/fs/bpf
mkdir {pins}
mount --move {hand} {pins}
three=-all,+bpf,+perfmon,+net_admin
exec setpriv --reuid {USER} --regid {USER} --clear-groups --no-new-privs \\
    --bounding-set $three --inh-caps $three --ambient-caps $three {agent} \"$@\"
"
    )
}

/// The project's binaries, with an agent that has only the capabilities; in a folder that the user can read.
fn confined(world: &World, folder: &Path) -> Binaries {
    let binaries = Binaries::of_this_profile().unwrap();
    let (agent, start) = (folder.join("lb-agent"), folder.join("start"));
    std::fs::copy(&binaries.agent, &agent).unwrap();
    std::fs::write(&start, script(world, &agent)).unwrap();
    for path in [folder, &start] {
        std::fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    }
    std::fs::create_dir(world.folder().join("pins")).unwrap();
    std::fs::create_dir(world.pin_path()).unwrap();
    for path in [world.folder(), &world.pin_path()] {
        chown(path, Some(USER), Some(USER)).unwrap();
    }
    Binaries { agent: start, ..binaries }
}

/// What the kernel says of a process: its users, and its capabilities of all kinds.
fn rights(agent: &Agent<'_>) -> Vec<String> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", agent.process.id())).unwrap();
    let of_rights = |line: &&str| line.starts_with("Uid:") || line.starts_with("Cap");
    status.lines().filter(of_rights).map(|line| line.replace('\t', " ")).collect()
}

#[test]
fn an_agent_with_three_capabilities_balances_another_takes_over_and_nothing_stays() {
    let world = World::new(Arms::Two, 2).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let binaries = confined(&world, folder.path());
    let webs = Web::start_all(&world, &binaries).unwrap();
    let agent = Agent::start(&world, &binaries, &shop(&world)).unwrap();
    let mut stage = Stage { agent, webs, world: &world, binaries };
    // What it runs inherits nothing.
    let none = "0000000000000000";
    let sets = [
        ("Inh", none),
        ("Prm", CAPABILITIES),
        ("Eff", CAPABILITIES),
        ("Bnd", CAPABILITIES),
        ("Amb", none),
    ];
    let mut expected = vec![format!("Uid: {USER} {USER} {USER} {USER}")];
    expected.extend(sets.map(|(set, value)| format!("Cap{set}: {value}")));
    assert_eq!(rights(&stage.agent), expected);
    stage.agent.wait_until_all_up().unwrap();
    assert_eq!(stage.answers(20).unwrap().into_values().collect::<Vec<_>>(), [10, 10]);

    let load = stage.load().unwrap();
    load.wait_for_more(50).unwrap();
    stage.agent.process.kill().unwrap();
    stage.agent.restart().unwrap();
    assert_eq!(rights(&stage.agent), expected);
    stage.agent.wait_until_all_up().unwrap();
    stage.agent.ctl_ok(&["backend", "drain", "shop", "web1"]).unwrap();
    load.wait_for_more(50).unwrap();
    assert_eq!(failures(&load.stop().unwrap()), Vec::<&String>::new());
    assert_eq!(stage.answering(10).unwrap(), ["web2"], "the second agent is heeded");
    stage.agent.process.terminate(TIMEOUT).unwrap();
    detach(&world, &stage.binaries).unwrap();
    assert_eq!(world.pin_path().read_dir().unwrap().count(), 0, "pins are left");
}

#[test]
fn an_agent_that_lacks_a_capability_names_it_with_the_remedy() {
    let world = World::new(Arms::Two, 1).unwrap();
    let binaries = Binaries::of_this_profile().unwrap();
    write_config(&world, &shop(&world).file(&world)).unwrap();
    let config = config_file(&world);
    for (held, lacking) in [
        ("+net_admin,+perfmon", "CAP_BPF"),
        ("+net_admin,+bpf", "CAP_PERFMON"),
        ("+bpf,+perfmon", "CAP_NET_ADMIN"),
    ] {
        let held = format!("-all,{held}");
        let mut command = world.director.command("setpriv");
        command.args(["--bounding-set", &held, "--inh-caps", &held]).arg(&binaries.agent);
        let output = command.arg("--config").arg(&config).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(8), "{said}");
        assert!(said.contains(&format!("the agent lacks {lacking}; ")), "{said}");
        assert!(said.contains("AmbientCapabilities"), "{said}");
    }
    assert!(!world.pin_path().exists(), "something was pinned");
}
