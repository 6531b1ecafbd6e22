//! The overlay written into the text of the configuration file, from where it is read back.

use lb_common::config_file;

use super::{Overlay, merge};
use crate::model::config::{Checked, Problems, diff, edit_backends, parse};

#[cfg(test)]
mod tests;

/// A configuration file as text, and what it means.
#[derive(Clone, Copy, Debug)]
pub struct File<'a> {
    /// Its name, for problems.
    pub name: &'a str,
    /// Its text.
    pub text: &'a str,
    /// What the text means.
    pub checked: &'a Checked,
    /// What it was checked with.
    pub host_name: &'a str,
}

/// A file with the overlay written into it.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// Its text.
    pub text: String,
    /// What the text means: the file and the overlay, merged.
    pub checked: Checked,
    /// What of the overlay did not fit the file and is not in it, a line each.
    pub dropped: Vec<String>,
}

/// Why the overlay cannot be written into the file.
#[derive(Debug, thiserror::Error)]
pub enum Unwritable {
    /// The file could not be read again.
    #[error("the file would be longer than {} MiB", config_file::LONGEST >> 20)]
    TooLong,
    /// It would break a rule of the file.
    #[error("the file would be wrong:\n{0}")]
    Wrong(Problems),
    /// The text is laid out in a way that the edit does not master.
    #[error("the file would not mean what runs: {}", .0.join("; "))]
    Differs(Vec<String>),
}

/// Writes the overlay into a file. The result is parsed, and is the merged configuration or an error.
pub fn write(file: File<'_>, overlay: &Overlay) -> Result<Written, Unwritable> {
    let File { name, text, checked, host_name } = file;
    let merged = merge(&checked.config, overlay);
    let edited = edit_backends(text, &checked.config, &merged.config);
    let text = edited.unwrap_or_else(|| text.to_owned());
    if text.len() > config_file::LONGEST {
        return Err(Unwritable::TooLong);
    }
    let checked = parse(name, &text, host_name).map_err(Unwritable::Wrong)?;
    if checked.config != merged.config {
        return Err(Unwritable::Differs(diff(&checked.config, &merged.config)));
    }
    Ok(Written { text, checked, dropped: merged.dropped })
}
