//! Every command of `lb-ctl` against a running agent: what it prints, what it changes, how it ends.
#![cfg(feature = "root")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use lb_tests::agent::{config_file, shop};
use lb_tests::load::TIMEOUT;
use lb_tests::stage::Stage;
use lb_tests::web::PORT;
use lb_tests::world::{Arms, World};
use serde_json::Value;

fn code_of(stage: &Stage<'_>, line: &str) -> (i32, String) {
    let output = stage.agent.ctl(&line.split(' ').collect::<Vec<_>>()).unwrap();
    ended(&output)
}

fn ended(output: &Output) -> (i32, String) {
    let said = [&output.stdout[..], &output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(said).unwrap())
}

/// What a command prints, which must succeed.
fn says(stage: &Stage<'_>, line: &str) -> String {
    let (code, said) = code_of(stage, line);
    assert_eq!(code, 0, "{line}: {said}");
    said
}

#[test]
fn commands_that_look_print_what_is_there_in_every_format() {
    let world = World::new(Arms::Two, 2).unwrap();
    let stage = Stage::shop(&world).unwrap();
    stage.answers(4).unwrap();
    for (line, expected) in [
        ("status", "backends"),
        ("service list", "2/2"),
        ("service show shop", "web2"),
        ("service stats", "shop"),
        ("service stats shop", "web1"),
        ("backend list", "web2"),
        ("backend list shop", "web1"),
        ("backend show shop web1", "192.0.2.11:80"),
        ("health list", "HTTP 200"),
        ("health list --service shop --backend web2", "web2"),
        ("health show shop web1", "web1"),
        ("health history --limit 1", "up"),
        ("conn list", "198.51.100.10:"),
        ("conn count", "web1"),
        ("drops --all", "to_backend"),
        ("config check", "valid"),
        ("config show", "[health_check.web]"),
        ("version", "agent"),
    ] {
        let table = says(&stage, line);
        assert!(table.contains(expected), "{line}: {table}");
        let wide = says(&stage, &format!("{line} -o wide"));
        assert!(wide.lines().count() >= table.lines().count(), "{line}: {wide}");
        let json: Value = serde_json::from_str(&says(&stage, &format!("{line} -j"))).unwrap();
        assert!(json.is_object() || json.is_array(), "{line}: {json}");
        let yaml = says(&stage, &format!("{line} -o yaml"));
        assert!(yaml.starts_with("- ") || yaml.contains(": "), "{line}: {yaml}");
    }
    assert!(!says(&stage, "config diff").is_empty());
    // The director of a world is in order, as far as a doctor may say of a veth.
    let (code, said) = code_of(&stage, "doctor");
    assert!(code <= 1 && said.contains("next hops"), "{said}");
}

#[test]
fn tables_are_plain_where_nobody_looks() {
    let world = World::new(Arms::Two, 1).unwrap();
    let stage = Stage::shop(&world).unwrap();
    let said = says(&stage, "backend list");
    assert!(!said.contains('\u{1b}'), "{said:?}");
    assert_eq!(says(&stage, "status -j").lines().count(), 1);
}

#[test]
fn commands_that_change_do_so_and_change_nothing_with_dry_run() {
    let world = World::new(Arms::Two, 2).unwrap();
    let stage = Stage::shop(&world).unwrap();
    let new = world.folder().join("new.toml");
    std::fs::write(&new, shop(&world).file(&world).replace("fall = 3", "fall = 4")).unwrap();
    let apply = format!("config apply {}", new.display());
    let settled = || {
        let mut backends = stage.agent.ctl_json(&["backend", "list"]).unwrap();
        for backend in backends.as_array_mut().unwrap() {
            for moving in ["traffic", "health", "serving"] {
                backend.as_object_mut().unwrap().remove(moving);
            }
        }
        (backends, says(&stage, "config show"))
    };
    for line in [
        "backend weight shop web1 7",
        "backend set shop web1 --weight 3 --backup true",
        "backend set shop web1 --backup false",
        "backend drain shop web2",
        "backend maint shop web2",
        "backend ready shop web2",
        "backend add shop web3 192.0.2.13:80 --weight 5",
        "backend delete shop web3",
        &apply,
        "reload --discard",
        "backend weight shop web1 9",
        "reload --save",
    ] {
        let before = settled();
        let tried = says(&stage, &format!("{line} --dry-run"));
        assert_eq!(settled(), before, "{line} --dry-run");
        let done = says(&stage, line);
        assert_ne!(settled(), before, "{line}: {tried}{done}");
    }
    assert!(std::fs::read_to_string(config_file(&world)).unwrap().contains("fall = 4"));
    assert!(
        says(&stage, "reload").contains("nothing") || says(&stage, "reload").contains("no change")
    );
}

#[test]
fn a_weight_set_at_run_time_is_what_is_served() {
    let world = World::new(Arms::Two, 2).unwrap();
    let stage = Stage::shop(&world).unwrap();
    says(&stage, "backend weight shop web1 0");
    assert_eq!(stage.answering(6).unwrap(), ["web2"]);
    says(&stage, "backend set shop web2 --state maint");
    assert_eq!(stage.agent.ctl_json(&["status"]).unwrap()["backends_serving"], 0);
    says(&stage, "backend set shop web1 --weight 1 --state ready");
    assert_eq!(stage.answering(6).unwrap(), ["web1"]);
}

#[test]
fn every_exit_code_means_what_the_manual_says() {
    let world = World::new(Arms::Two, 1).unwrap();
    let mut stage = Stage::shop(&world).unwrap();
    let wrong = world.folder().join("wrong.toml");
    std::fs::write(&wrong, "version = 1\ncolour = 3\n").unwrap();
    let wrong = wrong.display();
    let _open = stage.connect_through(lb_tests::world::vips(PORT)[0]).unwrap();
    for (line, code) in [
        ("status", 0),
        ("backend add shop web1 192.0.2.99:80", 1),
        ("backend weight shop web1 70000", 2),
        ("backend paint shop web1", 2),
        ("service show nothing", 4),
        ("backend show shop web9", 4),
        ("backend drain shop web9", 4),
        (&format!("config check {wrong}"), 5),
        (&format!("config apply {wrong}"), 5),
        ("backend drain shop web1 --wait --timeout 100ms", 7),
    ] {
        let (found, said) = code_of(&stage, line);
        assert_eq!(found, code, "{line}: {said}");
        assert!(code == 0 || said.contains("error"), "{line}: {said}");
    }
    // Without capabilities not even root may use a socket whose mode says so.
    let socket = world.folder().join("lb.sock");
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o000)).unwrap();
    let mut command = std::process::Command::new("setpriv");
    command.args(["--bounding-set=-all", "--inh-caps=-all"]).arg(&stage.binaries.ctl);
    let output = command.arg("--socket").arg(socket).arg("status").output().unwrap();
    assert_eq!(ended(&output).0, 8, "{:?}", ended(&output));
    stage.agent.process.terminate(TIMEOUT).unwrap();
    let (code, said) = code_of(&stage, "status");
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("help:"), "{said}");
}

#[test]
fn completions_and_manual_pages_need_no_agent() {
    let world = World::new(Arms::Two, 1).unwrap();
    let binaries = lb_tests::binaries::Binaries::of_this_profile().unwrap();
    let run = |arguments: &[&str]| {
        let output = std::process::Command::new(&binaries.ctl).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    for shell in ["bash", "zsh", "fish"] {
        assert!(run(&["completion", shell]).contains("backend"), "{shell}");
    }
    let script = world.folder().join("completion.bash");
    std::fs::write(&script, run(&["completion", "bash"])).unwrap();
    lb_tests::command::run(std::process::Command::new("bash").arg("-n").arg(&script)).unwrap();
    assert!(run(&["man"]).contains(".TH lb-ctl"));
    let pages = world.folder().join("man");
    run(&["man", "--dir", &pages.display().to_string()]);
    let names: Vec<_> = pages
        .read_dir()
        .unwrap()
        .map(|page| page.unwrap().file_name().into_string().unwrap())
        .collect();
    for page in ["lb-ctl.1", "lb-ctl-backend-drain.1", "lb-ctl-config-apply.1"] {
        assert!(names.iter().any(|name| name == page), "{page} is not among {names:?}");
    }
}
