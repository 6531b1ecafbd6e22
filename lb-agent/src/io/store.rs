//! Files that the agent writes: the overlay, and the configuration file when it is told to.
//!
//! A file is replaced whole (written beside it, synced, renamed): a crash leaves the old one or the new one. Of files
//! that mean nothing after a boot this is true for a crash of the agent.

use std::ffi::OsString;
use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::model::firewall::{Elements, RuleNumbers, set_text};
use crate::model::overlay::Overlay;

/// Name of the overlay's file in the state folder.
const OVERLAY: &str = "overlay.json";
/// Name of the file with the numbers of the rules' counters.
const RULE_NUMBERS: &str = "rules.json";
/// Where the kernel tells one boot of the machine from another.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// Permission bits of a file that is new: it may name addresses, never secrets.
const NEW_FILE_MODE: u32 = 0o640;

/// Why a file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A system call did not succeed.
    #[error("{act} {path}")]
    Io {
        /// What was tried.
        act: &'static str,
        /// With which file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// Nothing can be kept.
    #[error(
        "[agent] state_dir = {path:?} (on a backend: --state-dir) must be a folder that the agent may write to"
    )]
    StateDir {
        /// The folder.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// What was kept cannot be understood.
    #[error(
        "read {path}, which keeps what was made with lb-ctl; repair it, or move it away to start \
         with the configuration file alone"
    )]
    Kept {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: serde_json::Error,
    },
}

impl StoreError {
    /// Whether the agent is not allowed to write there, rather than unable to.
    pub fn is_forbidden(&self) -> bool {
        let (Self::Io { source, .. } | Self::StateDir { source, .. }) = self else { return false };
        matches!(source.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
    }
}

/// Makes the state folder if it is missing, and finds out whether files can be written there.
pub fn prepare(state_dir: &Path) -> Result<(), StoreError> {
    let writable =
        || access(state_dir, AccessFlags::W_OK | AccessFlags::X_OK).map_err(io::Error::from);
    let prepared = fs::create_dir_all(state_dir).and_then(|()| writable());
    prepared.map_err(|source| StoreError::StateDir { path: state_dir.into(), source })
}

/// Reads the overlay; there is an empty one where no file is.
pub fn load_overlay(state_dir: &Path) -> Result<Overlay, StoreError> {
    load(&state_dir.join(OVERLAY))
}

/// Reads which rule has which counter; no rule has one where no file is.
pub fn load_rule_numbers(state_dir: &Path) -> Result<RuleNumbers, StoreError> {
    load(&state_dir.join(RULE_NUMBERS))
}

/// Writes which rule has which counter.
pub fn save_rule_numbers(state_dir: &Path, numbers: &RuleNumbers) -> Result<(), StoreError> {
    save(&state_dir.join(RULE_NUMBERS), numbers)
}

/// Reads a value that [`save`] wrote; the default one where no file is.
pub fn load<T: Default + DeserializeOwned>(path: &Path) -> Result<T, StoreError> {
    match fs::read(path) {
        Ok(text) => serde_json::from_slice(&text)
            .map_err(|source| StoreError::Kept { path: path.to_owned(), source }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(T::default()),
        Err(error) => Err(on("read", path)(error)),
    }
}

/// Writes the overlay.
pub fn save_overlay(state_dir: &Path, overlay: &Overlay) -> Result<(), StoreError> {
    save(&state_dir.join(OVERLAY), overlay)
}

/// Where what a set holds is kept.
pub fn set_path(state_dir: &Path, set: &str) -> PathBuf {
    state_dir.join("sets").join(format!("{set}.txt"))
}

/// Writes what a set holds.
pub fn save_set(state_dir: &Path, set: &str, elements: &Elements) -> Result<(), StoreError> {
    let path = set_path(state_dir, set);
    make_folder_of(&path)?;
    replace(&path, set_text(elements).as_bytes())
}

fn make_folder_of(path: &Path) -> Result<(), StoreError> {
    let Some(folder) = path.parent() else { return Ok(()) };
    fs::create_dir_all(folder).map_err(on("create folder", folder))
}

/// What this boot of the machine is called.
pub fn boot_id() -> Result<String, StoreError> {
    let path = Path::new(BOOT_ID);
    let text = fs::read_to_string(path).map_err(on("read", path))?;
    Ok(text.trim().to_owned())
}

/// Writes a value as JSON, and makes the folder if it is missing.
pub fn save(path: &Path, value: &impl Serialize) -> Result<(), StoreError> {
    save_as(path, value, Until::Replaced)
}

/// The same for what means nothing after a boot: an agent that is killed leaves the old file or the new one, and no disk
/// is waited for.
pub fn save_for_this_boot(path: &Path, value: &impl Serialize) -> Result<(), StoreError> {
    save_as(path, value, Until::Boot)
}

/// How long a file is to last.
#[derive(Clone, Copy, PartialEq)]
enum Until {
    Boot,
    Replaced,
}

fn save_as(path: &Path, value: &impl Serialize, until: Until) -> Result<(), StoreError> {
    make_folder_of(path)?;
    let text = serde_json::to_vec_pretty(value)
        .map_err(|error| on("write", path)(io::Error::from(error)))?;
    replace_as(path, &text, until)
}

/// Replaces a file by `text`; permissions stay, the owner where that is allowed, and so does a symbolic link to it.
pub fn replace(path: &Path, text: &[u8]) -> Result<(), StoreError> {
    replace_as(path, text, Until::Replaced)
}

fn replace_as(path: &Path, text: &[u8], until: Until) -> Result<(), StoreError> {
    let path = &fs::canonicalize(path).unwrap_or_else(|_new| path.to_owned());
    // Hidden, for `lb.toml.new` may well be somebody's draft.
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    let beside = path.with_file_name(name);
    let written = write_as(&beside, text, fs::metadata(path).ok().as_ref())
        .and_then(|file| if until == Until::Replaced { file.sync_all() } else { Ok(()) })
        .map_err(on("write", &beside))
        .and_then(|()| fs::rename(&beside, path).map_err(on("replace", path)));
    let written = match until {
        Until::Boot => written,
        Until::Replaced => {
            written.and_then(|()| sync_folder(path).map_err(on("sync the folder of", path)))
        }
    };
    if written.is_err() {
        // The error that counts is the one above.
        drop(fs::remove_file(&beside));
    }
    written
}

fn write_as(path: &Path, text: &[u8], like: Option<&Metadata>) -> io::Result<File> {
    let mut file = File::create(path)?;
    let mode = like.map_or(NEW_FILE_MODE, |like| like.mode() & 0o7777);
    if let Some(like) = like {
        keep_owner(&file, like)?;
    }
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(text)?;
    Ok(file)
}

/// An agent that is not root has what it writes; the group stays where it is one of the agent's.
fn keep_owner(file: &File, like: &Metadata) -> io::Result<()> {
    match fchown(file, Some(like.uid()), Some(like.gid())) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            drop(fchown(file, None, Some(like.gid())));
            Ok(())
        }
        other => other,
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

fn on<'a>(act: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> StoreError + 'a {
    move |source| StoreError::Io { act, path: path.into(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::causes::with_causes;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn the_overlay_comes_back_as_it_was_saved() {
        let folder = folder();
        let state_dir = folder.path().join("lib/lb");
        assert_eq!(load_overlay(&state_dir).unwrap(), Overlay::default());
        save_overlay(&state_dir, &Overlay::default()).unwrap();
        assert_eq!(load_overlay(&state_dir).unwrap(), Overlay::default());
        assert_eq!(names(&state_dir), ["overlay.json"]);
    }

    #[test]
    fn a_state_folder_that_cannot_be_is_an_error_that_names_its_key() {
        let folder = folder();
        prepare(&folder.path().join("lib/lb")).unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        for path in [file.as_path(), &file.join("lb"), Path::new("/proc/lb")] {
            let error = with_causes(&prepare(path).unwrap_err());
            assert!(error.starts_with("[agent] state_dir = \"/"), "{error}");
            assert!(error.contains("the agent may write to: "), "{error}");
        }
    }

    #[test]
    fn a_broken_overlay_is_an_error_that_names_it_and_what_to_do() {
        let folder = folder();
        fs::write(folder.path().join("overlay.json"), "{").unwrap();
        let error = with_causes(&load_overlay(folder.path()).unwrap_err());
        assert!(error.contains("overlay.json,") && error.contains(": EOF"), "{error}");
        assert!(error.contains("move it away"), "{error}");
    }

    #[test]
    fn a_replaced_file_keeps_its_permissions_and_the_link_to_it() {
        let folder = folder();
        let (file, link) = (folder.path().join("lb-1.toml"), folder.path().join("lb.toml"));
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o604)).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        replace(&link, b"new").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o604);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(names(folder.path()).len(), 2);
    }

    #[test]
    fn a_folder_that_is_missing_is_named() {
        let folder = folder();
        let error = replace(&folder.path().join("no/lb.toml"), b"").unwrap_err().to_string();
        assert!(error.starts_with("write ") && error.contains("no/.lb.toml.new"), "{error}");
    }
}
