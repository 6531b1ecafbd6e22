//! Changes made at run time are written into the configuration file, or nothing changes.
#![cfg(feature = "root")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use lb_tests::agent::{config_file, shop, write_config};
use lb_tests::command::run;
use lb_tests::load::TIMEOUT;
use lb_tests::stage::Stage;
use lb_tests::world::{Arms, World};
use serde_json::{Value, json};

/// The shop with comments, and without its last backend.
fn commented(world: &World) -> String {
    let mut text = shop(world).file(world);
    text.truncate(text.rfind("[[service.backend]]").unwrap());
    let text = text.replace("[[service]]", "# Opening hours: always.\n[[service]]");
    text.replace("name = \"web1\"", "name = 'web1'   # the old one") + "# The end.\n"
}

fn ctl(stage: &Stage<'_>, line: &str) -> String {
    stage.agent.ctl_ok(&line.split(' ').collect::<Vec<_>>()).unwrap()
}

/// The exit code of a command and what it said.
fn ended(stage: &Stage<'_>, line: &str) -> (i32, String) {
    let output = stage.agent.ctl(&line.split(' ').collect::<Vec<_>>()).unwrap();
    let said = [&output.stdout[..], &output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(said).unwrap())
}

fn diff(stage: &Stage<'_>) -> Value {
    stage.agent.ctl_json(&["config", "diff"]).unwrap()
}

fn nothing() -> Value {
    json!({ "overlay": [], "file": [] })
}

/// What is wanted of each backend.
fn wanted(stage: &Stage<'_>) -> Vec<Value> {
    let backends = stage.agent.ctl_json(&["backend", "list"]).unwrap();
    let keys = ["name", "address", "weight", "state", "backup"];
    let of = |backend: &Value| keys.iter().map(|key| backend[key].clone()).collect();
    backends.as_array().unwrap().iter().map(of).collect()
}

#[test]
fn what_is_saved_is_in_the_file_with_its_comments_and_survives_the_state() {
    let world = World::new(Arms::Two, 3).unwrap();
    let before = commented(&world);
    let mut stage = Stage::set_from(&world, &before).unwrap();
    let addresses = world.backends[2].at(lb_tests::web::PORT);
    ctl(&stage, "backend weight shop web1 7");
    ctl(&stage, "backend maint shop web2");
    ctl(&stage, &format!("backend add shop web3 {} {} --weight 5", addresses[0], addresses[1]));
    stage.agent.wait_for_health("web3", "up").unwrap();
    let (changed, running) = (diff(&stage), wanted(&stage));

    let tried = stage.agent.ctl_json(&["reload", "--save", "--dry-run"]).unwrap();
    let file_diff = tried["file_diff"].as_str().unwrap();
    assert!(file_diff.contains("\n+weight = 7\n") && file_diff.contains("\n # The end."));
    assert_eq!(
        (&tried["changes"], fs::read_to_string(config_file(&world)).unwrap()),
        (&json!([]), before.clone())
    );
    assert_eq!(diff(&stage), changed);

    let said = ctl(&stage, "reload --save");
    assert!(said.starts_with("written:\n--- ") && said.contains(file_diff), "{said}");
    let after = fs::read_to_string(config_file(&world)).unwrap();
    let mut lines = after.lines();
    let lost: Vec<_> = before.lines().filter(|line| !lines.any(|other| other == *line)).collect();
    assert!(lost.is_empty(), "{lost:?} are not in\n{after}");
    assert_eq!((diff(&stage), wanted(&stage)), (nothing(), running.clone()));
    assert_eq!(stage.agent.ctl_json(&["status"]).unwrap()["overlay"], false);
    assert_eq!(ctl(&stage, "reload --save"), "nothing to change\n");
    assert_eq!(fs::read_to_string(config_file(&world)).unwrap(), after);

    stage.agent.process.terminate(TIMEOUT).unwrap();
    fs::remove_dir_all(world.folder().join("state")).unwrap();
    stage.agent.restart().unwrap();
    stage.agent.wait_for_health("web3", "up").unwrap();
    assert_eq!((diff(&stage), wanted(&stage)), (nothing(), running));
    assert_eq!(stage.answering(6).unwrap(), ["web1", "web3"]);
}

#[test]
fn a_file_that_was_edited_meanwhile_is_saved_into_and_loaded() {
    let world = World::new(Arms::Two, 2).unwrap();
    let text = commented(&world).replace("# The end.", "# The first end.");
    let stage = Stage::set_from(&world, &text).unwrap();
    ctl(&stage, "backend weight shop web1 7");
    write_config(&world, &text.replace("fall = 3", "fall = 4 # patient")).unwrap();
    let said = ctl(&stage, "reload --save");
    assert!(said.contains("fall 3 -> 4\n") && said.contains("\n+weight = 7\n"), "{said}");
    let saved = fs::read_to_string(config_file(&world)).unwrap();
    assert!(saved.contains("fall = 4 # patient\n") && saved.contains("weight = 7\n"), "{saved}");
    assert_eq!(ctl(&stage, "config show"), saved);
    assert_eq!(diff(&stage), nothing());
}

#[test]
fn nothing_is_saved_into_a_wrong_file() {
    let world = World::new(Arms::Two, 1).unwrap();
    let text = shop(&world).file(&world);
    let stage = Stage::set_from(&world, &text).unwrap();
    ctl(&stage, "backend weight shop web1 7");
    let changed = diff(&stage)["overlay"].clone();
    for (wrong, reason) in [
        (text.replace("fall =", "fal ="), "did you mean `fall`?"),
        (text.replace("[api]", "[api]\nsocket_mode = \"0600\""), "socket_mode"),
    ] {
        write_config(&world, &wrong).unwrap();
        let (code, said) = ended(&stage, "reload --save");
        assert_eq!(code, 5, "{said}");
        assert!(said.contains(reason), "{said}");
        assert_eq!(fs::read_to_string(config_file(&world)).unwrap(), wrong);
        assert_eq!(diff(&stage)["overlay"], changed);
    }
}

/// A small file system of its own, with the configuration file behind a link to it.
struct Disk(PathBuf);

impl Disk {
    fn with_config(world: &World, text: &str) -> Self {
        let disk = Self(world.folder().join("disk"));
        fs::create_dir(&disk.0).unwrap();
        let mount = ["-t", "tmpfs", "-o", "size=64k", "tmpfs"];
        run(Command::new("mount").args(mount).arg(&disk.0)).unwrap();
        fs::write(disk.file(), text).unwrap();
        fs::set_permissions(disk.file(), fs::Permissions::from_mode(0o604)).unwrap();
        chown(disk.file(), Some(65_534), Some(65_534)).unwrap();
        disk
    }

    fn file(&self) -> PathBuf {
        self.0.join("lb-1.toml")
    }

    fn remount(&self, how: &str) {
        let how = format!("remount,{how}");
        run(Command::new("mount").args(["-o", &how]).arg(&self.0)).unwrap();
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Err(error) = run(Command::new("umount").arg(&self.0)) {
            eprintln!("unmount the disk: {error:#}");
        }
    }
}

fn fill(path: &Path) {
    fs::write(path, vec![b'x'; 64 << 10]).unwrap_err();
}

#[test]
fn a_file_that_cannot_be_written_stays_and_so_do_the_changes() {
    let world = World::new(Arms::Two, 1).unwrap();
    let text = shop(&world).file(&world);
    let disk = Disk::with_config(&world, &text);
    let stage = Stage::set_from(&world, &text).unwrap();
    fs::remove_file(config_file(&world)).unwrap();
    symlink(disk.file(), config_file(&world)).unwrap();
    ctl(&stage, "backend weight shop web1 7");
    let (changed, filler) = (diff(&stage), disk.0.join("filler"));
    let refuses = |code: i32, reason: &str, names: usize| {
        let (found, said) = ended(&stage, "reload --save");
        assert_eq!(found, code, "{said}");
        assert!(said.contains("nothing is saved") && said.contains(reason), "{said}");
        assert_eq!(fs::read_to_string(disk.file()).unwrap(), text);
        assert_eq!((diff(&stage), disk.names().len()), (changed.clone(), names));
        said
    };
    fill(&filler);
    refuses(1, "No space left", 2);
    fs::remove_file(&filler).unwrap();
    disk.remount("ro");
    let said = refuses(8, "Read-only file system", 1);
    assert!(said.contains("help: let the agent write there"), "{said}");
    disk.remount("rw");

    ctl(&stage, "reload --save");
    assert_eq!(diff(&stage), nothing());
    assert!(fs::read_to_string(disk.file()).unwrap().contains("\nweight = 7\n"));
    assert!(fs::symlink_metadata(config_file(&world)).unwrap().is_symlink());
    let saved = fs::metadata(disk.file()).unwrap();
    assert_eq!((saved.mode() & 0o7777, saved.uid(), saved.gid()), (0o604, 65_534, 65_534));
    assert_eq!(disk.names(), ["lb-1.toml"]);
}
