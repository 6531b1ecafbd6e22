//! The key that directors share, and what is derived from it.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use hkdf::Hkdf;
use lb_common::layout::HashKey;
use sha2::Sha256;

/// Fewest bytes of a key: as many as the keys have that are derived from it.
const SHORTEST: usize = 32;
const LONGEST: u64 = 4_096;

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It cannot be read.
    #[error("read the key of [sync] from {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is no secret.
    #[error("every user of this host may read {}, the key of [sync]; `chmod o-rwx` it", path.display())]
    Open {
        /// The file.
        path: PathBuf,
    },
    /// It is none.
    #[error(
        "{}, the key of [sync], has {length} bytes without the line's end, and {SHORTEST} to {LONGEST} are \
         needed; `head -c 32 /dev/urandom | base64` makes one",
        path.display()
    )]
    Length {
        /// The file.
        path: PathBuf,
        /// Its length.
        length: usize,
    },
}

/// What is derived from the key file.
#[derive(Clone)]
pub struct Keys {
    /// Of the connections between directors.
    pub(super) connections: [u8; 32],
    /// Of the flow hash, so that all directors choose alike where the choice is by hash.
    pub flow_hash: HashKey,
    /// Of SYN cookies, so that each director takes those of the others.
    pub cookies: [u64; 2],
    /// Of the advertisements of virtual routers.
    pub adverts: [u8; 32],
}

impl Keys {
    /// Reads a key file; white space at its end does not count.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let (text, mode) =
            read(path).map_err(|source| KeyError::Read { path: path.into(), source })?;
        if mode & 0o007 != 0 {
            return Err(KeyError::Open { path: path.into() });
        }
        let key = text.trim_ascii_end();
        if key.len() < SHORTEST || u64::try_from(text.len()).is_ok_and(|length| length > LONGEST) {
            return Err(KeyError::Length { path: path.into(), length: key.len() });
        }
        Ok(Self::of(key))
    }

    /// Each key is derived under a name of its own (RFC 5869).
    fn of(key: &[u8]) -> Self {
        let source = Hkdf::<Sha256>::new(None, key);
        let (mut connections, mut flow_hash) = ([0; 32], [0; size_of::<HashKey>()]);
        let (mut cookies, mut adverts) = ([0; 16], [0; 32]);
        // It fails only where more than 8,160 bytes are asked for.
        source.expand(b"sluice sync connections 1", &mut connections).ok();
        source.expand(b"sluice sync flow hash 1", &mut flow_hash).ok();
        source.expand(b"sluice syn cookies 1", &mut cookies).ok();
        source.expand(b"sluice vrrp advertisements 1", &mut adverts).ok();
        let flow_hash = zerocopy::transmute!(flow_hash);
        Self { connections, flow_hash, cookies: zerocopy::transmute!(cookies), adverts }
    }
}

fn read(path: &Path) -> io::Result<(Vec<u8>, u32)> {
    let file = File::open(path)?;
    let mode = file.metadata()?.permissions().mode();
    let mut text = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut text)?;
    Ok((text, mode))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn read_with(text: &[u8], mode: u32) -> Result<Keys, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sync.key");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        Keys::read(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn the_keys_depend_on_the_file_and_not_on_the_end_of_its_line() {
        let [a, b, c] = [&[b'a'; 32][..], &[b'b'; 32], b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n"]
            .map(|text| read_with(text, 0o640).unwrap());
        assert_eq!((a.connections, a.flow_hash), (c.connections, c.flow_hash));
        assert!(a.connections != b.connections && a.flow_hash != b.flow_hash);
        let flow_hash: [u8; size_of::<HashKey>()] = zerocopy::transmute!(a.flow_hash);
        assert_ne!(a.connections[..], flow_hash[..32]);
        assert!(
            a.cookies == c.cookies && a.cookies != b.cookies && a.cookies[..] != a.flow_hash[..2]
        );
        assert!(a.adverts != b.adverts && a.adverts == c.adverts && a.adverts != a.connections);
    }

    #[test]
    fn a_key_that_is_no_secret_is_refused_with_the_remedy() {
        assert!(read_with(&[b'a'; 32], 0o644).err().unwrap().contains("chmod o-rwx"));
        assert!(read_with(&[b'a'; 31], 0o600).err().unwrap().contains("has 31 bytes"));
        assert!(read_with(&[b'a'; 4_097], 0o600).err().unwrap().contains("has 4097 bytes"));
        let error = Keys::read(Path::new("/nowhere/sync.key")).err().unwrap();
        assert!(error.to_string().contains("/nowhere/sync.key"), "{error}");
    }
}
