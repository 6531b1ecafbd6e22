//! What CI runs before the tests: formatting, lints, style, and whether the BPF object fits its source,
//! and, where cargo-deny is installed, licences and advisories of the dependencies.

use anyhow::Result;

use crate::bpf;
use crate::cargo::{cargo, run};

/// Runs all checks; the first that fails ends it.
pub(crate) fn run_all() -> Result<()> {
    eprintln!("== formatting");
    run(cargo()?.args(["fmt", "--all", "--check"]))?;
    eprintln!("== lints");
    let everything = ["--workspace", "--all-targets", "--all-features"];
    run(cargo()?.args(["clippy", "--locked"]).args(everything).args(["--", "-D", "warnings"]))?;
    eprintln!("== style");
    run(cargo()?.args(["test", "--locked", "--quiet", "-p", "lb-tests", "--test", "tidy"]))?;
    eprintln!("== the BPF object");
    bpf::check()?;
    eprintln!("== dependencies");
    dependencies()
}

/// cargo names a command that it does not have as an error, like any other: `--version` tells the two apart.
fn dependencies() -> Result<()> {
    if !cargo()?.args(["deny", "--version"]).output()?.status.success() {
        eprintln!("not checked: cargo-deny is not installed (`cargo install --locked cargo-deny`)");
        return Ok(());
    }
    run(cargo()?.args(["deny", "--locked", "check"]))
}
