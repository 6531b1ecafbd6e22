//! The BPF object: built from `lb-ebpf`, byte for byte the same wherever the same toolchain builds it.
//!
//! It is kept in the repository, so that the agent builds on stable Rust alone; CI builds it again and
//! compares. No path of the building machine gets into it, and it carries BTF but no DWARF.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cargo::{cargo, root, run, target_folder};
use crate::setup;

const TARGET: &str = "bpfel-unknown-none";

/// Builds the object and puts it where the agent embeds it.
pub(crate) fn build() -> Result<()> {
    setup::warn_of_other_compiler()?;
    let built = compile()?;
    let kept = kept_object()?;
    if let Some(folder) = kept.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    }
    std::fs::copy(&built, &kept).with_context(|| format!("write {}", kept.display()))?;
    eprintln!("{} is built", kept.display());
    Ok(())
}

/// Builds the object and compares it with the one that is kept.
pub(crate) fn check() -> Result<()> {
    setup::require_exact_toolchain()?;
    let built = compile()?;
    let kept = kept_object()?;
    if read(&built)? != read(&kept)? {
        bail!(
            "{} is not what its source gives; build it with `cargo xtask bpf` and commit it",
            kept.display()
        );
    }
    eprintln!("the BPF object is what its source gives");
    Ok(())
}

fn kept_object() -> Result<PathBuf> {
    Ok(root()?.join("lb-ebpf/object/sluice.bpf.o"))
}

fn compile() -> Result<PathBuf> {
    let root = root()?;
    let target_folder = target_folder()?.join("bpf");
    // `build-std` is unstable; the compiler is the stable one, so that plain builds need no other.
    run(cargo()?
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_DIR", &target_folder)
        .env("CARGO_ENCODED_RUSTFLAGS", flags(&root)?.join("\x1f"))
        .args(["build", "--locked", "--package", "lb-ebpf", "--bin", "lb-ebpf", "--profile", "bpf"])
        .args(["--target", TARGET, "-Z", "build-std=core"]))
    .context("build the BPF object; `cargo xtask setup` brings its toolchain")?;
    strip_dwarf(&target_folder.join(TARGET).join("bpf/lb-ebpf"))
}

fn flags(root: &Path) -> Result<Vec<String>> {
    let words = ["-C", "target-cpu=v3", "-C", "link-arg=--btf"];
    let mut flags: Vec<_> = words.map(str::to_owned).into();
    let mut hide = |path: &Path, name: &str| {
        flags.push(format!("--remap-path-prefix={}={name}", path.display()));
    };
    hide(root, "/sluice");
    hide(&setup::sysroot()?, "/rust");
    for registry in registries()? {
        hide(&registry, "/registry");
    }
    Ok(flags)
}

/// Where cargo keeps the sources of dependencies.
fn registries() -> Result<Vec<PathBuf>> {
    let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    let folder = cargo_home.or_else(home).context("find cargo's home")?.join("registry/src");
    let entries = folder.read_dir().with_context(|| format!("list {}", folder.display()))?;
    Ok(entries.flatten().map(|entry| entry.path()).collect())
}

/// The compiler has its own objcopy, so that the result depends on the compiler alone.
fn strip_dwarf(object: &Path) -> Result<PathBuf> {
    let stripped = object.with_file_name("sluice.bpf.o");
    let tool = setup::host_tools()?.join("rust-objcopy");
    let libraries = setup::sysroot()?.join("lib");
    let mut command = Command::new(tool);
    command.env("LD_LIBRARY_PATH", libraries).arg("--strip-debug");
    run(command.arg(object).arg(&stripped))?;
    write(&stripped, &with_plain_names(read(&stripped)?))?;
    Ok(stripped)
}

/// bpf-linker 0.10 turns the brackets of generic structs into plain letters, but not those of this union,
/// and the kernel refuses all of the BTF for it.
fn with_plain_names(mut object: Vec<u8>) -> Vec<u8> {
    let (name, plain) = (b"MaybeUninit<u8>", b"MaybeUninit_u8_");
    let mut at = 0;
    while let Some(place) = object.get_mut(at..at + name.len()) {
        if place == name {
            place.copy_from_slice(plain);
        }
        at += 1;
    }
    object
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(path, bytes).with_context(|| format!("write {}", path.display()))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("read {}", path.display()))
}
