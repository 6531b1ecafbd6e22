//! The completions of shells, for both programs.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use clap::Command;
use clap_complete::{Shell, generate_to};

const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Zsh, Shell::Fish];

/// Writes a file for each program and shell, with the name that the shell gives it.
pub(super) fn write(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    let commands: [fn() -> Command; 2] = [lb_agent::args::command, lb_ctl::command];
    for command in commands {
        for shell in SHELLS {
            let mut command = command();
            let name = command.get_name().to_owned();
            generate_to(shell, &mut command, &name, folder)
                .with_context(|| format!("write the completions of {name} for {shell}"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_knows_the_words_of_both_programs() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path()).unwrap();
        for (file, word) in [
            ("lb-agent.bash", "detach"),
            ("_lb-agent", "detach"),
            ("lb-agent.fish", "detach"),
            ("lb-ctl.bash", "drain"),
            ("_lb-ctl", "drain"),
            ("lb-ctl.fish", "drain"),
        ] {
            let text = fs::read_to_string(folder.path().join(file)).unwrap();
            assert!(text.contains(word), "{file}");
        }
    }
}
