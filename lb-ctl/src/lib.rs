//! The command line of Sluice as a library, so that a build can write its manual pages.
//!
//! A command is a function from arguments and the agent's answers to an `Answer`: text for standard
//! output, remarks for standard error, an exit code. `args` says what can be typed, `client` talks to
//! the agent, `command` puts both together, `render` makes text. Only this file prints, but for the
//! progress of a drain. Nothing here reads a configuration; the agent does.

#[cfg(test)]
mod agent_for_tests;
mod args;
mod client;
mod command;
mod error;
mod pages;
mod render;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::net::IpAddr;
use std::process::ExitCode;

use clap::Parser;

use args::Cli;
use command::{Answer, Context};
use error::{Error, Exit};
use render::Screen;

pub use pages::{command, write_man_pages};

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(exit) => exit,
        Err(error) => {
            report(&error);
            error.exit()
        }
    }
    .into()
}

fn run(cli: Cli) -> Result<Exit, Error> {
    let terminal = io::stdout().is_terminal();
    let context = Context {
        client: client::Client::new(&cli.global.socket),
        format: cli.global.format(),
        screen: Screen {
            terminal,
            colour: terminal && colour_wanted(std::env::var_os("NO_COLOR")),
        },
        progress: io::stderr().is_terminal(),
        session: std::env::var("SSH_CONNECTION").ok().filter(|text| is_session(text)),
    };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Start)?;
    let answer = runtime.block_on(command::execute(cli.object, &context))?;
    print(&answer)?;
    Ok(answer.exit)
}

/// Whether the agent will understand it: two IP addresses with their ports. A link-local address may come with the
/// name of an interface, and is left out.
fn is_session(text: &str) -> bool {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [client, client_port, host, port] = words.as_slice() else { return false };
    let is_port = |text: &str| text.parse::<u16>().is_ok();
    let is_address = |text: &str| text.parse::<IpAddr>().is_ok();
    is_address(client) && is_port(client_port) && is_address(host) && is_port(port)
}

/// <https://no-color.org>: any value but an empty one forbids colours.
fn colour_wanted(no_color: Option<OsString>) -> bool {
    no_color.is_none_or(|value| value.is_empty())
}

/// A reader that has seen enough, as `head`, is no error.
fn print(answer: &Answer) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    let written = out.write_all(answer.text.as_bytes()).and_then(|()| out.flush());
    match written {
        Err(source) if source.kind() != io::ErrorKind::BrokenPipe => {
            return Err(Error::Write { name: "standard output".into(), source });
        }
        Err(_) | Ok(()) => {}
    }
    answer.remarks.iter().for_each(|remark| remark_on(remark));
    Ok(())
}

fn report(error: &Error) {
    let message = error.to_string();
    // The agent's rendering of a wrong configuration opens with the word itself.
    let head = if message.starts_with("error") { "" } else { "error: " };
    remark_on(&format!("{head}{message}"));
    if let Some(help) = error.help() {
        remark_on(&format!("help: {help}"));
    }
}

/// Unlike `eprintln!` this does not panic where standard error is a pipe that nobody reads.
fn remark_on(remark: &str) {
    drop(writeln!(io::stderr(), "{}", remark.trim_end()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_two_addresses_with_ports() {
        assert!(is_session("198.51.100.7 50022 203.0.113.2 22"));
        assert!(is_session("2001:db8::7 50022 2001:db8::2 22"));
        for wrong in ["", "fe80::1%eth0 50022 fe80::2%eth0 22", "a 1 b 2", "10.0.0.1 1 10.0.0.2"] {
            assert!(!is_session(wrong), "{wrong}");
        }
    }

    #[test]
    fn no_color_forbids_colours_unless_it_is_empty() {
        assert!(colour_wanted(None));
        assert!(colour_wanted(Some("".into())));
        assert!(!colour_wanted(Some("1".into())));
        assert!(!colour_wanted(Some("0".into())));
    }
}
