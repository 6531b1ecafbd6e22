//! One agent for one set of pins: a lock on the folder itself, for a BPF file system holds no files.
//!
//! The kernel gives the lock back when the process ends, however it ends.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::error::{DatapathError, Result};
use super::pins::{Pins, pin_error};

/// Holds the pins of a folder for this process.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    _folder: Flock<File>,
}

impl Lock {
    /// Takes the lock, and makes the folder if it is missing.
    pub fn take(path: &Path) -> Result<Self> {
        loop {
            Pins::open(path)?;
            if let Some(lock) = lock_folder(path)? {
                return Ok(lock);
            }
        }
    }

    /// Takes the lock if the folder is there.
    pub fn take_existing(path: &Path) -> Result<Option<Self>> {
        while Pins::existing(path).is_some() {
            if let Some(lock) = lock_folder(path)? {
                return Ok(Some(lock));
            }
        }
        Ok(None)
    }
}

/// A folder in which there are no pins is of no use to anybody.
impl Drop for Lock {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.path) {
            tracing::debug!("the folder {} stays: {error}", self.path.display());
        }
    }
}

/// `None` if the folder was removed meanwhile, by an agent that held it until then.
fn lock_folder(path: &Path) -> Result<Option<Lock>> {
    let folder = match File::open(path) {
        Ok(folder) => folder,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(pin_error("open", path, error)),
    };
    let locked = Flock::lock(folder, FlockArg::LockExclusiveNonblock);
    let folder = locked.map_err(|(_, error)| {
        if error == Errno::EWOULDBLOCK {
            DatapathError::InUse { path: path.to_owned() }
        } else {
            pin_error("lock", path, error)
        }
    })?;
    let same = folder
        .metadata()
        .ok()
        .zip(fs::metadata(path).ok())
        .is_some_and(|(held, found)| (held.dev(), held.ino()) == (found.dev(), found.ino()));
    Ok(same.then(|| Lock { path: path.to_owned(), _folder: folder }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_held_by_one_at_a_time_and_is_left_when_empty() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pins");
        fs::create_dir(&path).unwrap();
        let first = lock_folder(&path).unwrap().unwrap();
        let error = lock_folder(&path).unwrap_err();
        assert!(matches!(error, DatapathError::InUse { .. }), "{error}");
        assert!(error.to_string().contains("another lb-agent"), "{error}");
        drop(first);
        assert!(!path.exists());
        assert!(lock_folder(&path).unwrap().is_none());
        fs::create_dir(&path).unwrap();
        fs::write(path.join("pin"), "").unwrap();
        drop(lock_folder(&path).unwrap().unwrap());
        assert!(lock_folder(&path).unwrap().is_some());
    }
}
