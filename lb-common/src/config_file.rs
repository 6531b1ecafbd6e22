//! Reads the text of a configuration, on either side, within bounds.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Longest configuration in bytes: more than one takes that fills every map.
pub const LONGEST: usize = 16 << 20;

/// Reads a file.
pub fn read(path: &Path) -> io::Result<String> {
    read_from(File::open(path)?)
}

/// Reads what `source` gives.
pub fn read_from(source: impl Read) -> io::Result<String> {
    let mut bytes = Vec::new();
    let most = u64::try_from(LONGEST).unwrap_or(u64::MAX);
    source.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() > LONGEST {
        let mib = LONGEST >> 20;
        return Err(invalid(format!("it is longer than {mib} MiB: is it a configuration?")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let before = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = before.split(|byte| *byte == b'\n').count();
        invalid(format!("it is not UTF-8 text, first on line {line}: save it as UTF-8"))
    })
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_comes_as_it_is() {
        assert_eq!(
            read_from("version = 1 # für uns\n".as_bytes()).unwrap(),
            "version = 1 # für uns\n"
        );
    }

    #[test]
    fn bytes_that_are_not_text_are_told_with_their_line() {
        let error = read_from(&b"version = 1\n# \xe4\n"[..]).unwrap_err().to_string();
        assert_eq!(error, "it is not UTF-8 text, first on line 2: save it as UTF-8");
    }

    #[test]
    fn a_file_without_end_is_given_up() {
        let error = read(Path::new("/dev/zero")).unwrap_err().to_string();
        assert_eq!(error, "it is longer than 16 MiB: is it a configuration?");
        assert!(read_from(io::repeat(b' ').take(16 << 20)).is_ok());
    }

    #[test]
    fn a_folder_is_not_a_file() {
        assert_eq!(read(Path::new("/")).unwrap_err().kind(), io::ErrorKind::IsADirectory);
    }
}
