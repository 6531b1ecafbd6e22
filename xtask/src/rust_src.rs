//! The sources of Rust's library, from which `core` is built for BPF: by rustup, else from Debian.
//!
//! Debian's package of the same version has the same sources, and a machine that reaches only a mirror of
//! packages has that. It is taken from the mirror of the machine's own apt sources, through lists of our
//! own, so that the machine's packages stay as they are.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lb_tests::clock::wait_for;
use lb_tests::command::run;

use crate::setup::{RUSTC, sysroot};

const SUITE: &str = "trixie-backports";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const RUSTUP_WITHIN: Duration = Duration::from_secs(90);

/// Brings the sources if they are missing.
pub(crate) fn ensure() -> Result<()> {
    let folder = sysroot()?.join("lib/rustlib/src/rust/library");
    if has_sources(&folder) {
        return Ok(());
    }
    eprintln!("bringing rust-src by rustup");
    let by_rustup = from_rustup();
    if by_rustup.is_ok() && has_sources(&folder) {
        return Ok(());
    }
    eprintln!("rustup has not brought it; taking rust-src from Debian's {SUITE}");
    let from_debian = from_debian(&folder);
    if has_sources(&folder) {
        return Ok(());
    }
    let [rustup, debian] = [by_rustup, from_debian].map(|outcome| match outcome {
        Ok(()) => "it says that all is there, but the files are not".to_owned(),
        Err(error) => format!("{error:#}"),
    });
    bail!(
        "rust-src, the sources of Rust's library, in {}\n  rustup: {rustup}\n  Debian: {debian}\n  \
         help: run `rustup component add rust-src` where rustup reaches its server, or put the folder \
         `library` of Rust {RUSTC}'s sources there",
        folder.display()
    )
}

fn has_sources(folder: &Path) -> bool {
    folder.join("core/src/lib.rs").exists()
}

fn from_rustup() -> Result<()> {
    let mut command = Command::new("rustup");
    command.args(["component", "add", "rust-src"]).stdin(Stdio::null()).stdout(std::io::stderr());
    let mut child = command.spawn().context("start rustup")?;
    let end = wait_for("rustup", RUSTUP_WITHIN, || child.try_wait().context("look at rustup"));
    if end.is_err() {
        child.kill().context("end rustup")?;
        child.wait().context("wait for the end of rustup")?;
    }
    ensure!(end?.success(), "it could not bring the component");
    Ok(())
}

fn from_debian(folder: &Path) -> Result<()> {
    let work = tempfile::tempdir().context("make a folder")?;
    let apt = Apt { work: work.path(), options: apt_options(work.path())? };
    apt.run(&["update", "--quiet=2"])?;
    apt.run(&["download", "--quiet=2", &format!("rust-src={RUSTC}*")])?;
    let package = file_with_extension(work.path(), "deb")?;
    run(Command::new("dpkg-deb").arg("--extract").arg(&package).arg(work.path()))?;
    let unpacked = work.path().join(format!("usr/src/rustc-{RUSTC}/library"));
    ensure!(has_sources(&unpacked), "{} has no sources of core", package.display());
    let parent = folder.parent().context("find the folder of rust-src")?;
    std::fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
    run(Command::new("cp").arg("-r").arg(unpacked).arg(parent))?;
    Ok(())
}

/// apt with sources and lists of our own.
struct Apt<'a> {
    work: &'a Path,
    options: Vec<String>,
}

impl Apt<'_> {
    /// Runs apt-get; an error leaves out the options, which say nothing to a person.
    fn run(&self, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new("apt-get");
        command.current_dir(self.work).args(arguments).stdin(Stdio::null());
        for option in &self.options {
            command.args(["-o", option]);
        }
        let output = command.output().context("start apt-get")?;
        let said = String::from_utf8_lossy(&output.stderr);
        let words = arguments.join(" ");
        ensure!(output.status.success(), "apt-get {words} in {SUITE}: {}", said.trim_end());
        Ok(())
    }
}

fn apt_options(work: &Path) -> Result<Vec<String>> {
    let signed_by =
        if Path::new(KEYRING).exists() { format!("[signed-by={KEYRING}] ") } else { String::new() };
    let sources = work.join("sources.list");
    let line = format!("deb {signed_by}{} {SUITE} main\n", debian_mirror()?);
    std::fs::write(&sources, line).with_context(|| format!("write {}", sources.display()))?;
    let lists = work.join("lists");
    std::fs::create_dir_all(lists.join("partial")).context("make a folder for apt's lists")?;
    Ok(vec![
        format!("Dir::Etc::SourceList={}", sources.display()),
        "Dir::Etc::SourceParts=/dev/null".to_owned(),
        format!("Dir::State::Lists={}", lists.display()),
        format!("Dir::Cache={}", work.display()),
        "APT::Sandbox::User=root".to_owned(),
        "APT::Update::Error-Mode=any".to_owned(),
    ])
}

/// The mirror of Debian's main archive in the machine's own apt sources.
fn debian_mirror() -> Result<String> {
    let format = "$(REPO_URI) $(RELEASE) $(COMPONENT)";
    let text = run(Command::new("apt-get").args(["indextargets", "--format", format]))?;
    let codename = debian_codename()?;
    let mirror = text.lines().find_map(|line| {
        let mut words = line.split(' ');
        let (uri, suite, component) = (words.next()?, words.next()?, words.next()?);
        (suite == codename && component == "main").then(|| uri.to_owned())
    });
    mirror.with_context(|| format!("find the mirror of {codename} in apt's sources"))
}

fn debian_codename() -> Result<String> {
    let text = std::fs::read_to_string("/etc/os-release").context("read /etc/os-release")?;
    let codename = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    Ok(codename
        .context("find the name of the release in /etc/os-release")?
        .trim_matches('"')
        .to_owned())
}

fn file_with_extension(folder: &Path, extension: &str) -> Result<PathBuf> {
    let entries = folder.read_dir().with_context(|| format!("list {}", folder.display()))?;
    entries
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|it| it == extension))
        .with_context(|| format!("find a .{extension} file in {}", folder.display()))
}
