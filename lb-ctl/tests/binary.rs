//! The program itself: exit codes and what goes to which stream.

use std::process::{Command, Output, Stdio};

fn lb_ctl() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lb-ctl"));
    command.env_remove("LB_SOCKET");
    command
}

#[expect(clippy::unwrap_used, reason = "a test ends where the program cannot be started")]
fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = lb_ctl().args(arguments).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[test]
fn an_unreachable_agent_ends_with_code_3_and_advice() {
    let (code, stdout, stderr) = run(&["--socket", "/nonexistent/lb.sock", "status"]);
    assert_eq!((code, stdout.as_str()), (Some(3), ""));
    assert!(
        stderr.starts_with("error: cannot reach the agent at /nonexistent/lb.sock"),
        "{stderr}"
    );
    assert!(stderr.contains("\nhelp: "), "{stderr}");
}

#[test]
fn the_socket_can_come_from_the_environment() {
    let output =
        lb_ctl().arg("status").env("LB_SOCKET", "/nonexistent/other.sock").output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8(output.stderr).unwrap().contains("/nonexistent/other.sock"));
}

#[test]
fn wrong_usage_ends_with_code_2() {
    let (code, stdout, stderr) = run(&["backend", "drian", "shop", "web1"]);
    assert_eq!((code, stdout.as_str()), (Some(2), ""));
    assert!(stderr.contains("drain"), "{stderr}");
}

#[test]
fn a_file_that_cannot_be_read_ends_with_code_1_and_its_name() {
    let (code, _, stderr) = run(&["config", "apply", "/nonexistent/lb.toml"]);
    assert_eq!(code, Some(1));
    assert!(stderr.starts_with("error: read /nonexistent/lb.toml: "), "{stderr}");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    // More than a pipe holds, so that the write meets the closed pipe.
    let mut child = lb_ctl()
        .args(["completion", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}
