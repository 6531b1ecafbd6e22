//! Debian packages that the demo and the tests need.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cargo::run;

/// A program and the package that has it: for the demo.
const FOR_THE_DEMO: &[(&str, &str)] =
    &[("ip", "iproute2"), ("ethtool", "ethtool"), ("ping", "iputils-ping"), ("curl", "curl")];

/// What the tests need besides.
const FOR_TESTS: &[(&str, &str)] = &[
    ("nginx", "nginx-light"),
    ("tcpdump", "tcpdump"),
    ("nft", "nftables"),
    ("bpftool", "bpftool"),
    ("promtool", "prometheus"),
    ("keepalived", "keepalived"),
    ("/usr/lib/frr/vrrpd", "frr"),
    ("/lib/systemd/systemd", "systemd"),
    ("adduser", "adduser"),
];

/// What the benchmarks of HTTP and of floods need besides, which tests run too.
const FOR_THE_BENCH: &[(&str, &str)] = &[
    ("nginx", "nginx-light"),
    ("/usr/lib/nginx/modules/ngx_stream_module.so", "libnginx-mod-stream"),
    ("nft", "nftables"),
    ("haproxy", "haproxy"),
    ("wrk", "wrk"),
];

/// Installs what the demo needs, where it is missing.
pub(crate) fn ensure_for_demo() -> Result<()> {
    ensure(FOR_THE_DEMO)
}

/// Installs what the tests need, where it is missing.
pub(crate) fn ensure_for_tests() -> Result<()> {
    ensure(&[FOR_THE_DEMO, FOR_TESTS, FOR_THE_BENCH].concat())
}

/// What failovers are compared with.
const FOR_FAILOVERS: &[(&str, &str)] = &[
    ("keepalived", "keepalived"),
    ("haproxy", "haproxy"),
    ("nft", "nftables"),
    ("conntrackd", "conntrackd"),
];

/// Installs what the benchmark of failovers needs, where it is missing.
pub(crate) fn ensure_for_failovers() -> Result<()> {
    ensure(&[FOR_THE_DEMO, FOR_FAILOVERS].concat())
}

/// Installs what the benchmarks need, where it is missing.
pub(crate) fn ensure_for_bench() -> Result<()> {
    ensure(&[FOR_THE_DEMO, FOR_THE_BENCH].concat())
}

fn ensure(programs: &[(&str, &str)]) -> Result<()> {
    let missing = programs.iter().filter(|(program, _)| !is_installed(program));
    let missing: BTreeSet<_> = missing.map(|(_, name)| *name).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.iter().copied().collect::<Vec<_>>().join(" ");
    let command = format!("apt-get install {names}");
    if !nix::unistd::geteuid().is_root() || !is_installed("apt-get") {
        bail!("these packages are missing; install them with: {command}");
    }
    eprintln!("installing packages: {names}");
    // Lists that are out of date or partly unreachable may still do.
    if let Err(error) = run(apt().args(["update", "--quiet=2"])) {
        eprintln!("{error:#}");
    }
    run(apt().args(["install", "--yes", "--quiet=2", "--no-install-recommends"]).args(&missing))
        .with_context(|| format!("install packages; try: {command}"))
}

/// Whether a program of this name is where root finds programs.
pub(crate) fn is_installed(program: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(["/usr/sbin", "/sbin"])
        .any(|folder| Path::new(folder).join(program).exists())
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    // Standard output belongs to the task's own result.
    command.args(["-o", "Dpkg::Use-Pty=0"]);
    command.env("DEBIAN_FRONTEND", "noninteractive").stdout(std::io::stderr());
    command
}
