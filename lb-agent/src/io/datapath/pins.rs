//! The folder of pins: maps and program by name, one link for each interface.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use lb_common::map;
use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use super::error::{DatapathError, Result};

const MOUNT_POINT: &str = "/sys/fs/bpf";
const LINK_PREFIX: &str = "link-";
const STAGES_PREFIX: &str = "stages-";

/// What the names of maps begin with that are to take the place of others.
const NEXT_PREFIX: &str = "NEXT_";

/// A folder on a BPF file system.
#[derive(Clone, Debug)]
pub(super) struct Pins {
    folder: PathBuf,
    /// The maps that are those of the next size.
    next: &'static [&'static str],
}

impl Pins {
    fn of(path: &Path) -> Self {
        Self { folder: path.to_owned(), next: &[] }
    }

    /// The same, with the next flow table.
    pub(super) fn next(&self) -> Self {
        Self { folder: self.folder.clone(), next: &map::SIZED }
    }

    /// The same, with the next firewall.
    pub(super) fn next_firewall(&self) -> Self {
        Self { folder: self.folder.clone(), next: &map::FIREWALLS }
    }

    /// Makes the folder if it is missing, and mounts `/sys/fs/bpf` if it has to.
    pub(super) fn open(path: &Path) -> Result<Self> {
        if !is_on_bpffs(path) && path.starts_with(MOUNT_POINT) {
            mount_bpffs()?;
        }
        if !is_on_bpffs(path) {
            return Err(DatapathError::NotBpffs { path: path.to_owned() });
        }
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|error| pin_error("create", path, error))?;
        Ok(Self::of(path))
    }

    /// The folder, if it is there.
    pub(super) fn existing(path: &Path) -> Option<Self> {
        (path.is_dir() && is_on_bpffs(path)).then(|| Self::of(path))
    }

    /// Whether nothing is pinned there.
    pub(super) fn is_empty(&self) -> bool {
        fs::read_dir(&self.folder).is_ok_and(|mut entries| entries.next().is_none())
    }

    pub(super) fn map(&self, name: &str) -> PathBuf {
        if self.next.contains(&name) {
            self.folder.join(format!("{NEXT_PREFIX}{name}"))
        } else {
            self.folder.join(name)
        }
    }

    pub(super) fn program(&self) -> PathBuf {
        self.folder.join("program")
    }

    /// Where a new program is pinned before it takes the place of the old one.
    pub(super) fn new_program(&self) -> PathBuf {
        self.folder.join("program-new")
    }

    pub(super) fn link(&self, interface: &str) -> PathBuf {
        self.folder.join(format!("{LINK_PREFIX}{}", escape(interface)))
    }

    /// The array of programs that the one with this id goes on in.
    pub(super) fn stages(&self, program_id: u32) -> PathBuf {
        self.folder.join(format!("{STAGES_PREFIX}{program_id}"))
    }

    /// All such arrays.
    pub(super) fn all_stages(&self) -> Result<Vec<PathBuf>> {
        self.with_prefix(STAGES_PREFIX)
    }

    /// The links of all interfaces.
    pub(super) fn links(&self) -> Result<Vec<PathBuf>> {
        self.with_prefix(LINK_PREFIX)
    }

    fn with_prefix(&self, prefix: &str) -> Result<Vec<PathBuf>> {
        let read = || {
            let mut found = Vec::new();
            for entry in fs::read_dir(&self.folder)? {
                let entry = entry?;
                if entry.file_name().to_string_lossy().starts_with(prefix) {
                    found.push(entry.path());
                }
            }
            Ok(found)
        };
        read().map_err(|error: io::Error| pin_error("read", &self.folder, error))
    }

    /// Removes every pin, the links first, and the folder if it is empty and may be removed.
    pub(super) fn remove_all(&self) -> Result<()> {
        for pin in self.links()?.into_iter().chain(self.all_stages()?) {
            remove(&pin)?;
        }
        remove(&self.program())?;
        remove(&self.new_program())?;
        for name in map::ALL {
            remove(&self.map(name))?;
            remove(&self.next().map(name))?;
            remove(&self.next_firewall().map(name))?;
        }
        // A folder that was handed over is not this user's to remove.
        match fs::remove_dir(&self.folder).map_err(|error| (error.kind(), error)) {
            Ok(())
            | Err((
                io::ErrorKind::DirectoryNotEmpty
                | io::ErrorKind::ResourceBusy
                | io::ErrorKind::PermissionDenied,
                _,
            )) => Ok(()),
            Err((_, error)) => Err(pin_error("remove", &self.folder, error)),
        }
    }
}

/// Removes a pin, if it is there.
pub(super) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(pin_error("remove", path, error))
        }
        _ => Ok(()),
    }
}

/// Lets a pin take the place of another one, in one step.
pub(super) fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(|error| pin_error("rename", from, error))
}

pub(super) fn pin_error(
    act: &'static str,
    path: &Path,
    source: impl Into<super::error::Source>,
) -> DatapathError {
    DatapathError::Pin { act, path: path.to_owned(), source: source.into() }
}

/// Names on a BPF file system must not have dots, those of interfaces may (`eth0.100`).
fn escape(interface: &str) -> String {
    interface.replace('%', "%25").replace('.', "%2e")
}

/// Whether the path, or the part of it that exists, is on a BPF file system.
pub fn is_on_bpffs(path: &Path) -> bool {
    path.ancestors()
        .find_map(|part| statfs(part).ok())
        .is_some_and(|found| found.filesystem_type() == BPF_FS_MAGIC)
}

/// Mounts a BPF file system in its usual place, unless another agent was quicker.
fn mount_bpffs() -> Result<()> {
    let point = Path::new(MOUNT_POINT);
    let not_ours = |_| DatapathError::NotBpffs { path: point.to_owned() };
    let folder = File::open(point).map_err(not_ours)?;
    // Two mounts at once would hide each other's pins.
    let lock = Flock::lock(folder, FlockArg::LockExclusive)
        .map_err(|(_, error)| pin_error("lock", point, error))?;
    if !is_on_bpffs(point) {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("bpf"), point, Some("bpf"), flags, Some("mode=0700")).map_err(|error| {
            tracing::warn!(%error, "mount a BPF file system on {MOUNT_POINT}");
            DatapathError::NotBpffs { path: point.to_owned() }
        })?;
    }
    drop(lock);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_on_another_file_system_is_refused_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let error = Pins::open(&folder.path().join("pins")).unwrap_err().to_string();
        assert!(error.contains("mount -t bpf bpf /sys/fs/bpf"), "{error}");
        assert!(!folder.path().join("pins").exists());
    }

    #[test]
    fn the_pin_of_a_link_has_no_dot() {
        let pins = Pins::of(Path::new("/sys/fs/bpf/lb"));
        assert_eq!(pins.link("eth0.100"), Path::new("/sys/fs/bpf/lb/link-eth0%2e100"));
        assert_ne!(pins.link("eth0.100"), pins.link("eth0%2e100"));
    }
}
