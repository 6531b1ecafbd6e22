//! Runs a command to its end; an error shows the command and what it said.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

/// Runs `command` and returns what it printed.
pub fn run(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("start {}", show(command)))?;
    expect_success(command, &output)
}

/// Runs `command` with `input` on its standard input and returns what it printed.
pub fn run_with_input(command: &mut Command, input: &str) -> Result<String> {
    run_with_bytes(command, input.as_bytes()).with_context(|| format!("input was:\n{input}"))
}

/// The same for input that is no text.
pub fn run_with_bytes(command: &mut Command, input: &[u8]) -> Result<String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {}", show(command)))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input).with_context(|| format!("write to {}", show(command)))?;
    }
    let output = child.wait_with_output().with_context(|| format!("wait for {}", show(command)))?;
    expect_success(command, &output)
}

fn expect_success(command: &Command, output: &Output) -> Result<String> {
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{}: {}\n{}{}", show(command), output.status, stdout, stderr.trim_end());
    }
    Ok(stdout)
}

fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
