//! The package in two versions, a machine to install it on, and its configuration.

use std::path::{Path, PathBuf};
use std::process::Command;

use lb_tests::agent::{BALANCED, CALM_CHECK, service};
use lb_tests::binaries::Binaries;
use lb_tests::command::run;
use lb_tests::machine::Machine;
use lb_tests::web::PORT;
use lb_tests::world::{World, vips};

/// Makes the package from the programs under test, and returns its file.
pub fn package(binaries: &Binaries, folder: &Path) -> PathBuf {
    let built_in = binaries.agent.parent().and_then(Path::file_name).unwrap();
    let profile = if built_in == "debug" { "dev" } else { "release" };
    let mut command = Command::new(&binaries.xtask);
    command.args(["package", "--no-build", "--profile", profile, "--package-version", "1.0"]);
    run(command.arg("--output").arg(folder)).unwrap();
    folder.join("sluice_1.0_amd64.deb")
}

/// The same package, as a later version.
pub fn later(package: &Path, folder: &Path) -> PathBuf {
    let (inside, later) = (folder.join("package"), folder.join("later.deb"));
    run(Command::new("dpkg-deb").arg("--raw-extract").args([package, &inside])).unwrap();
    let control = inside.join("DEBIAN/control");
    let text = std::fs::read_to_string(&control).unwrap();
    assert!(text.contains("Version: 1.0\n"), "{text}");
    std::fs::write(&control, text.replace("Version: 1.0\n", "Version: 1.1\n")).unwrap();
    run(Command::new("dpkg-deb").args(["-Znone", "--build"]).args([&inside, &later])).unwrap();
    later
}

/// Installs or upgrades, as `apt install` does at its end.
pub fn install(machine: &Machine, package: &Path) {
    std::fs::copy(package, machine.path("/tmp/sluice.deb")).unwrap();
    dpkg(machine, "--install /tmp/sluice.deb");
}

/// Without the triggers of others, such as the index of all manual pages.
pub fn dpkg(machine: &Machine, what: &str) {
    machine.run(&format!("dpkg --force-unsafe-io --no-triggers {what}")).unwrap();
}

/// The service `shop`, and a virtual router beside it that has an address of its own and a script.
pub fn configuration(world: &World) -> String {
    format!(
        r#"version = 1

[datapath]
interfaces = {:?}
manage_addresses = true
max_flows = 4096

[[vrrp]]
name = "side"
interface = "front"
virtual_router_id = 77
advert_interval = "100ms"
addresses = ["198.51.100.77/24"]
notify = "/etc/lb/notify.sh"

{CALM_CHECK}
{}"#,
        world.interfaces(),
        service("shop", &vips(PORT), BALANCED, world)
    )
}

/// A property of a unit.
pub fn property(machine: &Machine, unit: &str, name: &str) -> String {
    let text = machine.run(&format!("systemctl show --value --property {name} {unit}")).unwrap();
    text.trim().to_owned()
}

/// What a unit has said, as far as the machine runs.
pub fn journal(machine: &Machine, unit: &str) -> String {
    machine.run("journalctl --sync").unwrap();
    machine.run(&format!("journalctl --quiet --output cat --unit {unit}")).unwrap()
}
