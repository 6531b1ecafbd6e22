//! The agent with the layout of maps before this one, which upgrades are tested from and downgrades to.

use std::process::ExitCode;

#[path = "../main.rs"]
mod agent;

fn main() -> ExitCode {
    agent::main()
}
