//! The API's socket file: permissions from the first moment, a dead agent's file replaced, a live one's
//! respected.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

/// Why the socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody answers there.
    #[error("another lb-agent listens on {0}")]
    Live(PathBuf),
    /// Something else has that name.
    #[error("{0} exists and is not a socket; move it away or set [api] socket to another path")]
    NotASocket(PathBuf),
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
}

/// Listens on `path`, whose permission bits are `mode`.
///
/// The socket is bound under a name of its own, given its permissions and then renamed, so that at no
/// moment somebody else may connect, and clients of a dead agent's file find the new one without a gap.
pub async fn bind(path: &Path, mode: u32) -> Result<UnixListener, BindError> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(on("create folder", folder))?;
    }
    refuse_if_taken(path).await?;
    let mut own = path.as_os_str().to_owned();
    own.push(format!(".{}", std::process::id()));
    let own = PathBuf::from(own);
    remove_if_there(&own)?;
    let listener = UnixListener::bind(&own).map_err(on("listen on", &own))?;
    fs::set_permissions(&own, Permissions::from_mode(mode))
        .map_err(on("set permissions of", &own))?;
    fs::rename(&own, path).map_err(on("rename the socket to", path))?;
    Ok(listener)
}

/// The file of a socket that this process listens on.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    inode: Option<(u64, u64)>,
}

impl SocketFile {
    /// The file that was bound a moment ago.
    pub fn of(path: &Path) -> Self {
        Self { path: path.to_owned(), inode: inode(path) }
    }

    /// Removes the file, unless it is another agent's by now.
    pub fn remove(&self) {
        if self.inode.is_none() || inode(&self.path) != self.inode {
            return;
        }
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!("remove {}: {error}", self.path.display());
        }
    }
}

fn inode(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

async fn refuse_if_taken(path: &Path) -> Result<(), BindError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(on("examine", path)(source)),
        Ok(found) if !found.file_type().is_socket() => Err(BindError::NotASocket(path.into())),
        Ok(_socket) => match UnixStream::connect(path).await {
            Ok(_answered) => Err(BindError::Live(path.into())),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
            Err(source) => Err(on("examine", path)(source)),
        },
    }
}

fn remove_if_there(path: &Path) -> Result<(), BindError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(on("remove", path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn on<'a>(act: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> BindError + 'a {
    move |source| BindError::Io { act, path: path.into(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[tokio::test]
    async fn the_socket_has_its_folder_and_its_permissions() {
        let folder = folder();
        let path = folder.path().join("run/lb/lb.sock");
        let _listener = bind(&path, 0o640).await.unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        UnixStream::connect(&path).await.unwrap();
    }

    #[tokio::test]
    async fn the_file_of_a_dead_agent_is_replaced() {
        let folder = folder();
        let path = folder.path().join("lb.sock");
        drop(bind(&path, 0o600).await.unwrap());
        assert!(path.exists());
        let _listener = bind(&path, 0o600).await.unwrap();
        UnixStream::connect(&path).await.unwrap();
    }

    #[tokio::test]
    async fn a_live_agent_is_named_and_keeps_its_socket() {
        let folder = folder();
        let path = folder.path().join("lb.sock");
        let _first = bind(&path, 0o600).await.unwrap();
        let error = bind(&path, 0o600).await.unwrap_err();
        assert_eq!(error.to_string(), format!("another lb-agent listens on {}", path.display()));
        UnixStream::connect(&path).await.unwrap();
    }

    #[tokio::test]
    async fn only_the_own_socket_is_removed() {
        let folder = folder();
        let path = folder.path().join("lb.sock");
        let _first = bind(&path, 0o600).await.unwrap();
        let own = SocketFile::of(&path);
        fs::rename(&path, folder.path().join("moved")).unwrap();
        let _second = bind(&path, 0o600).await.unwrap();
        own.remove();
        assert!(path.exists(), "it is the other's");
        SocketFile::of(&path).remove();
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_left_alone() {
        let folder = folder();
        let path = folder.path().join("lb.sock");
        fs::write(&path, "precious").unwrap();
        assert!(matches!(bind(&path, 0o600).await, Err(BindError::NotASocket(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }
}
