//! The BPF objects: built from `lb-ebpf`, byte for byte the same wherever the same toolchain builds it.
//!
//! They are kept in the repository, so that the agent builds on stable Rust alone; CI builds them again and
//! compares. No path of the building machine gets into them, and they carry BTF but no DWARF.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cargo::{cargo, root, run, target_folder};
use crate::setup;

const TARGET: &str = "bpfel-unknown-none";

/// An object that is kept.
struct Object {
    /// The binary of `lb-ebpf` that it is built from.
    binary: &'static str,
    /// With these features.
    features: &'static str,
    file: &'static str,
}

const OBJECTS: [Object; 4] = [
    Object { binary: "lb-ebpf", features: "", file: "sluice.bpf.o" },
    Object { binary: "lb-decap", features: "", file: "decap.bpf.o" },
    Object { binary: "lb-bench", features: "", file: "bench.bpf.o" },
    // For tests of upgrades.
    Object { binary: "lb-ebpf", features: "layout-before", file: "before.bpf.o" },
];

/// Builds the objects and puts them where they are embedded.
pub(crate) fn build() -> Result<()> {
    setup::warn_of_other_compiler()?;
    let folder = kept_objects()?;
    std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    for object in &OBJECTS {
        let kept = folder.join(object.file);
        write(&kept, &object.build()?)?;
        eprintln!("{} is built", kept.display());
    }
    Ok(())
}

/// Builds the objects and compares them with those that are kept.
pub(crate) fn check() -> Result<()> {
    setup::require_exact_toolchain()?;
    for object in &OBJECTS {
        let kept = kept_objects()?.join(object.file);
        if object.build()? != read(&kept)? {
            bail!(
                "{} is not what its source gives; build it with `cargo xtask bpf` and commit it",
                kept.display()
            );
        }
    }
    eprintln!("the BPF objects are what their sources give");
    Ok(())
}

fn kept_objects() -> Result<PathBuf> {
    Ok(root()?.join("lb-ebpf/object"))
}

fn build_folder() -> Result<PathBuf> {
    Ok(target_folder()?.join("bpf"))
}

impl Object {
    /// Its bytes, without DWARF.
    fn build(&self) -> Result<Vec<u8>> {
        let root = root()?;
        // `build-std` is unstable; the compiler is the stable one, so that plain builds need no other.
        let mut build = cargo()?;
        build
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_TARGET_DIR", build_folder()?)
            .env("CARGO_ENCODED_RUSTFLAGS", flags(&root)?.join("\x1f"))
            .args(["build", "--locked", "--package", "lb-ebpf", "--profile", "bpf"])
            .args(["--target", TARGET, "-Z", "build-std=core"])
            .args(["--bin", self.binary, "--features", self.features]);
        let done = run(&mut build);
        done.context("build the BPF objects; `cargo xtask setup` brings their toolchain")?;
        stripped(self.binary, self.file)
    }
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

/// The bytes of an object that was built, without DWARF. The compiler has its own objcopy, so that they depend
/// on the compiler alone.
fn stripped(binary: &str, file: &str) -> Result<Vec<u8>> {
    let built = build_folder()?.join(TARGET).join("bpf").join(binary);
    let stripped = built.with_file_name(file);
    let tool = setup::host_tools()?.join("rust-objcopy");
    let libraries = setup::sysroot()?.join("lib");
    let mut command = Command::new(tool);
    command.env("LD_LIBRARY_PATH", libraries).arg("--strip-debug");
    run(command.arg(&built).arg(&stripped))?;
    Ok(with_plain_names(read(&stripped)?))
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
