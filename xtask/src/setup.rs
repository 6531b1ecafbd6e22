//! The toolchain of the BPF object: rustc 1.95.0, the sources of its library, and bpf-linker 0.10.1.
//!
//! bpf-linker 0.10 is the last that uses the LLVM of the Rust toolchain; later ones need one of the system.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use lb_tests::command::run as capture;

use crate::cargo::{cargo, run as show};
use crate::rust_src;

/// The compiler with which the object is the same, byte for byte.
pub(crate) const RUSTC: &str = "1.95.0";
const BPF_LINKER: &str = "0.10.1";

/// Brings what is missing, and says all that it cannot bring.
pub(crate) fn run() -> Result<()> {
    warn_of_other_compiler()?;
    let outcomes = [rust_src::ensure(), ensure_linker()];
    let problems: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
    if problems.is_empty() {
        eprintln!("the BPF toolchain is complete");
        return Ok(());
    }
    for problem in &problems {
        eprintln!("missing: {problem:#}");
    }
    bail!("the BPF object cannot be built here; all else builds with stable Rust alone")
}

/// Says it if the compiler is another than the one that the kept object was built with.
pub(crate) fn warn_of_other_compiler() -> Result<()> {
    let version = rustc_version()?;
    if version != RUSTC {
        eprintln!("note: this is rustc {version}; the kept BPF object is built with rustc {RUSTC}");
    }
    Ok(())
}

/// An error that names each part that would give other bytes.
pub(crate) fn require_exact_toolchain() -> Result<()> {
    let version = rustc_version()?;
    if version != RUSTC {
        bail!("objects can be compared under rustc {RUSTC} only; this is rustc {version}");
    }
    match linker_version() {
        Some(version) if version == BPF_LINKER => Ok(()),
        Some(version) => {
            bail!("bpf-linker {BPF_LINKER} is needed, not {version}: cargo xtask setup")
        }
        None => bail!("bpf-linker {BPF_LINKER} is not installed: cargo xtask setup"),
    }
}

/// The root of the Rust toolchain.
pub(crate) fn sysroot() -> Result<PathBuf> {
    Ok(capture(rustc().args(["--print", "sysroot"]))?.trim().into())
}

/// The toolchain's own programs for this machine.
pub(crate) fn host_tools() -> Result<PathBuf> {
    let host = rustc_field("host")?;
    Ok(sysroot()?.join("lib/rustlib").join(host).join("bin"))
}

fn rustc_version() -> Result<String> {
    rustc_field("release")
}

fn rustc_field(name: &str) -> Result<String> {
    let text = capture(rustc().arg("-vV"))?;
    let value = text.lines().filter_map(|line| line.split_once(": ")).find(|(key, _)| *key == name);
    Ok(value.with_context(|| format!("find `{name}` in the output of rustc -vV"))?.1.to_owned())
}

fn rustc() -> Command {
    Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
}

fn linker_version() -> Option<String> {
    let text = capture(Command::new("bpf-linker").arg("--version")).ok()?;
    text.split_whitespace().nth(1).map(str::to_owned)
}

fn ensure_linker() -> Result<()> {
    if linker_version().as_deref() == Some(BPF_LINKER) {
        return Ok(());
    }
    eprintln!("installing bpf-linker {BPF_LINKER}");
    let install = ["install", "--locked", "--force", "--version", BPF_LINKER, "bpf-linker"];
    show(cargo()?.args(install)).with_context(|| format!("install bpf-linker {BPF_LINKER}"))?;
    if linker_version().as_deref() != Some(BPF_LINKER) {
        bail!("bpf-linker {BPF_LINKER} is installed, but its folder is not first in PATH");
    }
    Ok(())
}
