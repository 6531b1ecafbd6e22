//! `cargo xtask`: builds, sets up, tests and shows Sluice. No part of the product is in here.

mod bench;
mod bpf;
mod cargo;
mod check;
mod demo;
mod failover;
mod package;
mod packages;
mod rust_src;
mod setup;
mod summary;
mod test;

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Show Sluice at work in network namespaces: spread, failure, return and drain (needs root)
    Demo(demo::Arguments),
    /// Run every test at all levels, those that need root included, and sum them up (needs root)
    Test,
    /// Measure what a packet, a wire and a request cost, beside what they cost at least (needs root)
    Bench(bench::Arguments),
    /// Check formatting, lints, style and that the BPF object is what its source gives; what CI runs
    Check,
    /// Build the BPF object from lb-ebpf into lb-ebpf/object
    Bpf {
        /// Build it and compare, but change nothing
        #[arg(long)]
        check: bool,
    },
    /// Make the Debian package, and install cargo-deb where it is missing
    Package(package::Arguments),
    /// Bring the toolchain that `cargo xtask bpf` needs: rust-src and bpf-linker
    Setup {
        /// Install the Debian packages that demo and tests need instead
        #[arg(long)]
        packages: bool,
    },
    /// Feed everything that reads files and packets of others with valid ones that were changed at random
    Fuzz {
        /// How many for each parser
        #[arg(long, default_value_t = 20_000)]
        cases: u32,
    },
    /// Serve HTTP as a backend of the demo and of tests does
    Serve {
        /// What `GET /` answers
        #[arg(long)]
        name: String,
        /// Address and port; may be given more than once
        #[arg(long, required = true)]
        listen: Vec<SocketAddr>,
    },
}

/// The ordinary tests of the parsers, for more cases than usual.
fn fuzz(cases: u32) -> Result<()> {
    let words = ["test", "--locked", "--package", "lb-agent", "--test", "fuzz"];
    cargo::run(cargo::cargo()?.env("PROPTEST_CASES", cases.to_string()).args(words))
}

fn main() -> ExitCode {
    match run(Cli::parse().task) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<ExitCode> {
    match task {
        Task::Demo(arguments) => return demo::run(&arguments),
        Task::Bench(arguments) => bench::run(&arguments)?,
        Task::Test => return test::run_all(),
        Task::Check => check::run_all()?,
        Task::Bpf { check: false } => bpf::build()?,
        Task::Bpf { check: true } => bpf::check()?,
        Task::Package(arguments) => package::run_task(&arguments)?,
        Task::Fuzz { cases } => fuzz(cases)?,
        Task::Setup { packages: true } => packages::ensure_for_tests()?,
        Task::Setup { packages: false } => setup::run()?,
        Task::Serve { name, listen } => lb_tests::http_server::serve(&name, &listen)?,
    }
    Ok(ExitCode::SUCCESS)
}
