//! The program as a person or a unit file calls it, as far as it needs no privilege.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const VALID: &str = r#"
version = 1
[datapath]
interfaces = ["eth0"]
[[service]]
name = "shop"
listen = ["203.0.113.10:80"]
protocol = "tcp"
forward = "nat"
scheduler = "rr"
  [[service.backend]]
  name = "web1"
  address = "192.0.2.11:80"
"#;

fn lb_agent(arguments: &[&str], config: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lb-agent"));
    command.args(arguments).arg("--config").arg(config).env_remove("RUST_LOG").output().unwrap()
}

fn file(folder: &tempfile::TempDir, text: &str) -> PathBuf {
    let path = folder.path().join("lb.toml");
    std::fs::write(&path, text).unwrap();
    path
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn check_says_that_a_valid_file_is_valid() {
    let folder = tempfile::tempdir().unwrap();
    let output = lb_agent(&["check"], &file(&folder, VALID));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(String::from_utf8(output.stdout).unwrap().contains("lb.toml is valid"));
}

#[test]
fn check_takes_the_file_as_lb_ctl_advises() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, VALID);
    let output = lb_agent(&["check", path.to_str().unwrap()], Path::new("/no/such/lb.toml"));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn every_problem_of_a_wrong_file_is_shown_and_the_exit_code_is_five() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = VALID.replace("scheduler", "schedular").replace("203.0.113.10:80", "203.0.113.10");
    let path = file(&folder, &wrong);
    // Without a command the agent would run; it must not touch anything.
    for arguments in [&["check"][..], &[]] {
        let output = lb_agent(arguments, &path);
        assert_eq!(output.status.code(), Some(5));
        let text = stderr(&output);
        assert!(text.contains("schedular") && text.contains("203.0.113.10"), "{text}");
        assert!(text.contains("lb.toml:7:") && text.contains("lb.toml:10:"), "{text}");
    }
}

#[test]
fn a_file_that_is_missing_is_named() {
    let output = lb_agent(&[], Path::new("/no/such/lb.toml"));
    assert_eq!(output.status.code(), Some(5));
    let text = stderr(&output);
    assert!(text.starts_with("lb-agent: read /no/such/lb.toml: No such file"), "{text}");
    assert!(text.contains("help: `--config FILE` names another file"), "{text}");
}

#[test]
fn a_log_filter_that_cannot_be_is_a_matter_of_usage() {
    let output = lb_agent(&["--log", "a=b=c"], Path::new("/no/such/lb.toml"));
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--log a=b=c"));
}

#[test]
fn decap_names_what_is_wrong_with_its_arguments_and_how_to_mend_it() {
    let usual = ["decap", "--interface", "eth0", "--vip", "203.0.113.10"];
    for (more, named) in [
        (["--vip", "203.0.113.10:80"], ["'203.0.113.10:80' for '--vip <ADDRESS>'", "without port"]),
        (["--vip", "ff02::1"], ["--vip", "a multicast address; give a unicast address"]),
        (["--from", "director"], ["'director' for '--from <PREFIX>'", "such as 192.0.2.0/24"]),
        (["--mss", "100"], ["'100' for '--mss <SIZE>'", "bytes from 536"]),
        (["--gue-port", "65536"], ["--gue-port <PORT>", "0..=65535"]),
        (["--xdp-mode", "fast"], ["--xdp-mode <MODE>", "auto, native, generic"]),
    ] {
        let arguments = [&usual[..], &more].concat();
        let output = lb_agent(&arguments, Path::new("/no/such/lb.toml"));
        assert_eq!(output.status.code(), Some(2), "{more:?}");
        let said = stderr(&output);
        assert!(named.iter().all(|words| said.contains(words)), "{named:?} are not in\n{said}");
    }
    let output = lb_agent(&["decap"], Path::new("/no/such/lb.toml"));
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--interface <NAME>"), "{}", stderr(&output));
}
