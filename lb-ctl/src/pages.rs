//! Completions and manual pages, made from the definition of the arguments.

use std::io;
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::args::Cli;

/// The definition of the whole command line.
#[must_use]
pub fn command() -> Command {
    Cli::command()
}

/// Writes the manual page of every command into `folder`, which is made if it is missing.
pub fn write_man_pages(folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    clap_mangen::generate_to(command(), folder)
}

/// The manual page of the program itself.
pub(crate) fn man_page() -> io::Result<String> {
    let mut page = Vec::new();
    Man::new(command()).render(&mut page)?;
    String::from_utf8(page).map_err(io::Error::other)
}

pub(crate) fn completion(shell: Shell) -> io::Result<String> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(), "lb-ctl", &mut script);
    String::from_utf8(script).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_can_complete_the_verbs() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = completion(shell).unwrap();
            for word in ["lb-ctl", "backend", "drain", "dry-run"] {
                assert!(script.contains(word), "{shell}: {word}");
            }
        }
    }

    #[test]
    fn every_command_has_a_manual_page() {
        let folder = tempfile::tempdir().unwrap();
        let pages = folder.path().join("man1");
        write_man_pages(&pages).unwrap();
        for name in ["lb-ctl", "lb-ctl-status", "lb-ctl-backend-drain", "lb-ctl-config-check"] {
            let page = std::fs::read_to_string(pages.join(format!("{name}.1"))).unwrap();
            assert!(page.contains(".SH SYNOPSIS"), "{name}");
        }
    }

    #[test]
    fn the_manual_tells_the_exit_codes() {
        let page = man_page().unwrap();
        assert!(page.contains("Exit codes:") && page.contains("timed out waiting"), "{page}");
    }
}
