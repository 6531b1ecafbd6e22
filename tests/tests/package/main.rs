//! The Debian package on a machine with systemd: installed, configured, upgraded under load, removed and purged; and
//! its unit, with the rights that it gives.
#![cfg(feature = "root")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod cast;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use lb_tests::binaries::Binaries;
use lb_tests::clock::wait_until;
use lb_tests::command::run;
use lb_tests::http_client::Connection;
use lb_tests::load::{Load, TIMEOUT, failures};
use lb_tests::machine::Machine;
use lb_tests::web::{PORT, Web};
use lb_tests::world::{Arms, World, vips};

use cast::{configuration, dpkg, install, journal, later, package, property};

const UNIT: &str = "lb-agent.service";
const SOON: Duration = Duration::from_secs(20);

/// Writes the user, the groups and the capabilities that it runs with.
const NOTIFY: &str = "#!/bin/sh\n\
    grep -E '^(Uid|Cap...|NoNewPrivs|Seccomp):' /proc/self/status > /var/lib/lb/told.new\n\
    mv /var/lib/lb/told.new /var/lib/lb/told\n";

/// What the kernel itself puts into a BPF file system: `maps.debug` and `progs.debug`.
const N_OF_THE_KERNEL: usize = 2;

/// Of 10; in tenths, for `systemd-analyze` takes it so.
const MOST_EXPOSED: u32 = 25;

#[test]
fn the_unit_is_as_little_exposed_as_its_page_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut command = Command::new("systemd-analyze");
    command.args(["security", "--offline=true", &format!("--threshold={MOST_EXPOSED}")]);
    command.arg(root.join("packaging/lb-decap.service"));
    let said = run(command.arg(root.join("packaging/lb-agent.service"))).unwrap();
    let (_, level) = said.split_once("Overall exposure level for lb-agent.service: ").unwrap();
    let level = level.split(' ').next().unwrap();
    let page = std::fs::read_to_string(root.join("docs/packaging.md")).unwrap();
    assert!(page.contains(&format!("rates the unit {level} ")), "{level}");
}

#[test]
fn a_package_is_installed_and_upgraded_under_load_and_leaves_nothing() {
    let world = World::new(Arms::Two, 2).unwrap();
    let binaries = Binaries::of_this_profile().unwrap();
    let first = package(&binaries, world.folder());
    let _webs = Web::start_all(&world, &binaries).unwrap();
    let machine = Machine::start(&world.director, world.folder()).unwrap();

    install(&machine, &first);
    as_it_comes_it_touches_nothing(&machine);
    configure_and_start(&machine, &world);
    its_rights_are_those_of_the_unit(&machine);
    configuration_changes(&machine);

    let mut connections: Vec<_> = vips(PORT).map(|vip| connect(&world, vip)).into();
    let names: Vec<_> = connections.iter_mut().map(|it| it.get("/").unwrap().backend).collect();
    let load = Load::start(&world.client.namespace, &vips(PORT)).unwrap();
    load.wait_for_more(100).unwrap();
    let before = property(&machine, UNIT, "MainPID");
    assert_eq!(installed(&machine), "1.0");
    install(&machine, &later(&first, world.folder()));
    assert_ne!(property(&machine, UNIT, "MainPID"), before, "the agent was not restarted");
    assert_eq!(installed(&machine), "1.1");
    assert_eq!(property(&machine, UNIT, "ActiveState"), "active");
    load.wait_for_more(100).unwrap();
    assert_eq!(failures(&load.stop().unwrap()), Vec::<&String>::new());
    let again: Vec<_> = connections.iter_mut().map(|it| it.get("/").unwrap().backend).collect();
    assert_eq!(again, names, "open connections have gone elsewhere");

    a_backend_decapsulates(&machine);
    removal_leaves_nothing(&machine);
}

fn installed(machine: &Machine) -> String {
    machine.run("dpkg-query --show --showformat=${Version} sluice").unwrap()
}

fn connect(world: &World, vip: std::net::SocketAddr) -> Connection {
    world.client.namespace.enter(|| Connection::open(vip, TIMEOUT)).unwrap().unwrap()
}

fn as_it_comes_it_touches_nothing(machine: &Machine) {
    assert_eq!(property(machine, UNIT, "UnitFileState"), "disabled");
    assert_eq!(property(machine, UNIT, "ActiveState"), "inactive");
    machine.run(&format!("systemctl start {UNIT}")).unwrap_err();
    let said = journal(machine, UNIT);
    assert_eq!(property(machine, UNIT, "ActiveState"), "failed", "{said}");
    assert_eq!(property(machine, UNIT, "NRestarts"), "0");
    assert!(said.contains("`interfaces` is empty"), "{said}");
    assert!(!links(machine).contains("xdp"), "{}", links(machine));
}

fn links(machine: &Machine) -> String {
    machine.run("ip -details link").unwrap()
}

fn configure_and_start(machine: &Machine, world: &World) {
    std::fs::write(machine.path("/etc/lb/notify.sh"), NOTIFY).unwrap();
    machine.run("chmod 755 /etc/lb/notify.sh").unwrap();
    std::fs::write(machine.path("/etc/lb/lb.toml"), configuration(world)).unwrap();
    let started = machine.run(&format!("systemctl enable --quiet --now {UNIT}"));
    started.with_context(|| journal(machine, UNIT)).unwrap();
    wait_until("all backends to be up", SOON, || {
        let health = machine.run("lb-ctl --json health list")?;
        Ok(!health.contains("\"down\"") && !health.contains("\"unknown\""))
    })
    .unwrap();
}

/// Lines of /proc/PID/status without their tabs.
fn status(machine: &Machine, file: &str) -> String {
    std::fs::read_to_string(machine.path(file)).unwrap().replace('\t', " ")
}

fn its_rights_are_those_of_the_unit(machine: &Machine) {
    let pid = property(machine, UNIT, "MainPID");
    let user = machine.run("id -u lb").unwrap().trim().to_owned();
    let rights = status(machine, &format!("/proc/{pid}/status"));
    // CAP_NET_ADMIN, CAP_NET_RAW, CAP_PERFMON and CAP_BPF: bits 12, 13, 38 and 39.
    for line in [
        format!("Uid: {user} {user} {user} {user}"),
        "CapInh: 0000000000000000".to_owned(),
        "CapPrm: 000000c000003000".to_owned(),
        "CapEff: 000000c000003000".to_owned(),
        "CapBnd: 000000c000003000".to_owned(),
        "CapAmb: 0000000000000000".to_owned(),
        "NoNewPrivs: 1".to_owned(),
        "Seccomp: 2".to_owned(),
    ] {
        assert!(rights.contains(&line), "{line} in\n{rights}");
    }
    its_virtual_routers_go_before_others(machine, &pid);

    wait_until("the script of the virtual router", SOON, || Ok(machine.has("/var/lib/lb/told")))
        .unwrap();
    let told = status(machine, "/var/lib/lb/told");
    for line in [&format!("Uid: {user}"), "CapPrm: 0000000000000000", "NoNewPrivs: 1"] {
        assert!(told.contains(line), "{line} in\n{told}");
    }
}

/// Limits above those of this host take `CAP_SYS_RESOURCE` of the machine's first process, which a container may lack:
/// then the agent must say what is missing.
fn its_virtual_routers_go_before_others(machine: &Machine, pid: &str) {
    let limits = std::fs::read_to_string(machine.path(&format!("/proc/{pid}/limits"))).unwrap();
    let limit = |name| {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().rev().nth(1).unwrap().to_owned()
    };
    let policies = machine.run(&format!("chrt --all-tasks --pid {pid}")).unwrap();
    let said = journal(machine, UNIT);
    // The limit of memory has a unit, that of priorities has none.
    if limit("Max realtime priority") == "2" && limit("Max locked memory") == "unlimited" {
        assert!(policies.contains("SCHED_FIFO"), "{policies}\n{said}");
        assert!(!said.contains("a busy machine"), "{said}");
    } else {
        eprintln!("limits cannot be raised here, so that the unit's are not tried:\n{limits}");
        assert!(said.contains("give the unit LimitRTPRIO=2 and LimitMEMLOCK=infinity"), "{said}");
    }
}

/// What loads programs anew, and what writes the file, under the unit's restrictions.
fn configuration_changes(machine: &Machine) {
    machine.run("lb-ctl backend weight shop web1 200").unwrap();
    machine.run("lb-ctl reload --save").unwrap();
    let path = machine.path("/etc/lb/lb.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("weight = 200"), "{text}");
    std::fs::write(&path, text.replace("max_flows = 4096", "max_flows = 8192")).unwrap();
    machine.run(&format!("systemctl reload {UNIT}")).unwrap();
    wait_until("a table of another size", SOON, || {
        let status = machine.run("lb-ctl --json status")?;
        Ok(status.contains("8192") && !status.contains("4096"))
    })
    .unwrap();
    let said = journal(machine, UNIT);
    let is_warning = |line: &&str| line.contains("WARN") && !line.contains("a busy machine");
    let warnings: Vec<_> = said.lines().filter(is_warning).collect();
    assert!(warnings.is_empty(), "{warnings:#?}");
}

/// The other unit of the package, on an interface that leads nowhere, with what a stop leaves.
fn a_backend_decapsulates(machine: &Machine) {
    let unit = "lb-decap.service";
    machine.run("ip link add tunnels type veth peer name nowhere").unwrap();
    machine.run("ip link set tunnels up").unwrap();
    let options = "LB_DECAP_OPTIONS=--interface tunnels --vip 203.0.113.99 --address --keep\n";
    std::fs::write(machine.path("/etc/default/lb-decap"), options).unwrap();
    let started = machine.run(&format!("systemctl start {unit}"));
    started.with_context(|| journal(machine, unit)).unwrap();
    let pid = property(machine, unit, "MainPID");
    let rights = status(machine, &format!("/proc/{pid}/status"));
    assert!(rights.contains("CapEff: 000000c000001000"), "{rights}");
    machine.run(&format!("systemctl stop {unit}")).unwrap();
    assert!(machine.run("ip -details link show dev tunnels").unwrap().contains("xdp"));
    assert!(machine.run("ip address show dev lo").unwrap().contains("203.0.113.99"));
}

fn removal_leaves_nothing(machine: &Machine) {
    let files = machine.run("dpkg --listfiles sluice").unwrap();
    let own: Vec<_> =
        files.lines().filter(|path| path.contains("lb") && !path.ends_with("/lib")).collect();
    dpkg(machine, "--remove sluice");
    assert_eq!(property(machine, UNIT, "ActiveState"), "inactive");
    assert!(!links(machine).contains("xdp"), "{}", links(machine));
    let addresses = machine.run("ip address").unwrap();
    for address in ["203.0.113.10/", "198.51.100.77/", "203.0.113.99/"] {
        assert!(!addresses.contains(address), "{addresses}");
    }
    assert_eq!(machine.path("/sys/fs/bpf").read_dir().unwrap().count(), N_OF_THE_KERNEL);
    assert!(machine.has("/etc/lb/lb.toml"), "a removal keeps the configuration");
    dpkg(machine, "--purge sluice");
    let left: Vec<_> = own.iter().filter(|path| machine.has(path)).collect();
    assert!(own.len() > 10 && left.is_empty(), "{left:?} of {own:?}");
    for folder in ["/etc/lb", "/run/lb", "/var/lib/lb", "/var/lib/lb-decap"] {
        assert!(!machine.has(folder), "{folder}");
    }
    let named =
        machine.run("find /etc /run /var -name *lb-agent* -o -name *lb-decap* -o -name sluice*");
    assert_eq!(named.unwrap(), "");
    machine.run("id lb").unwrap_err();
}
