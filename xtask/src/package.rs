//! `cargo xtask package`: the Debian package, made by cargo-deb from `[package.metadata.deb]` of lb-agent. Manual pages
//! and completions are written first, from what the programs say of themselves.

mod completions;
mod manual;

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result};

use crate::cargo::{cargo, root, run};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The folder that the package is put into; default: target/debian
    #[arg(long, value_name = "FOLDER")]
    output: Option<PathBuf>,
    /// The version of the package; default: that of the workspace, and -1
    #[arg(long, value_name = "VERSION")]
    package_version: Option<String>,
    /// The profile of the programs
    #[arg(long, default_value = "release")]
    profile: String,
    /// Take the programs as they are, and compress little
    #[arg(long)]
    no_build: bool,
}

/// Makes the package, and says where it is.
pub(crate) fn run_task(arguments: &Arguments) -> Result<()> {
    ensure_tool()?;
    if !arguments.no_build {
        let programs = ["-p", "lb-agent", "-p", "lb-ctl"];
        run(cargo()?.args(["build", "--locked", "--profile", &arguments.profile]).args(programs))?;
    }
    write_pages()?;
    let mut command = cargo()?;
    command.args(["deb", "--quiet", "--locked", "--no-build", "-p", "lb-agent"]);
    command.args(["--profile", &arguments.profile]);
    if arguments.no_build {
        command.args(["--fast", "--compress-type", "gz"]);
    }
    command.arg("--compress-system");
    if let Some(version) = &arguments.package_version {
        command.args(["--deb-version", version]);
    }
    let output = root()?.join("target/debian");
    run(command.arg("--output").arg(arguments.output.as_ref().unwrap_or(&output)))
}

/// Installs cargo-deb where it is missing. A debug build of it, without what debuggers want, comes sooner, and does little
/// work of its own.
pub(crate) fn ensure_tool() -> Result<()> {
    let has_it = cargo()?.args(["deb", "--version"]).stderr(Stdio::null()).output();
    if has_it.context("look for cargo-deb")?.status.success() {
        return Ok(());
    }
    eprintln!("installing cargo-deb");
    let mut install = cargo()?;
    install.env("CARGO_PROFILE_DEV_DEBUG", "0");
    run(install.args(["install", "--locked", "--debug", "cargo-deb"]))
}

/// Where `[package.metadata.deb]` finds them, whatever `CARGO_TARGET_DIR` says.
fn write_pages() -> Result<()> {
    let folder = root()?.join("target/package");
    manual::write(&folder.join("man"))?;
    completions::write(&folder.join("completions"))
}
