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
    };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Start)?;
    let answer = runtime.block_on(command::execute(cli.object, &context))?;
    print(&answer)?;
    Ok(answer.exit)
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
    fn no_color_forbids_colours_unless_it_is_empty() {
        assert!(colour_wanted(None));
        assert!(colour_wanted(Some("".into())));
        assert!(!colour_wanted(Some("1".into())));
        assert!(!colour_wanted(Some("0".into())));
    }
}
