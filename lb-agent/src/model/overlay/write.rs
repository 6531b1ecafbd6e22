//! The overlay written into the text of the configuration file, from where it is read back.

use std::path::PathBuf;

use lb_common::config_file;

use super::sets::listed;
use super::{FirewallOverlay, Overlay, SetOverlay, merge};
use crate::model::config::{Checked, Config, Problems, diff, edit, parse, prefix_of};
use crate::model::firewall::Source;

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
    /// What is to be written into the files of sets, before the file.
    pub set_files: Vec<SetFile>,
}

/// The file of a set that was changed at run time.
#[derive(Clone, Debug, PartialEq)]
pub struct SetFile {
    /// The file.
    pub path: PathBuf,
    /// The set.
    pub set: String,
    /// What was changed.
    pub changes: SetOverlay,
}

impl SetFile {
    /// The text of the file with the changes in it: lines go with their comments, new ones are the last.
    pub fn edit(&self, text: &str) -> String {
        let SetOverlay { added, deleted, .. } = &self.changes;
        let stays = |line: &&str| {
            let element = line.split('#').next().unwrap_or_default().trim();
            prefix_of(element).map_or(true, |prefix| !deleted.contains(&prefix))
        };
        let mut edited: String = text.split_inclusive('\n').filter(stays).collect();
        if !added.is_empty() && !edited.is_empty() && !edited.ends_with('\n') {
            edited.push('\n');
        }
        for prefix in added {
            edited.extend([&prefix.to_string(), "\n"]);
        }
        edited
    }
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
    /// What was loaded for a set that the file lists.
    #[error(
        "set {0} is listed in the file, and what was loaded for it is too long to be: give it a file of its own"
    )]
    Loaded(String),
    /// The text is laid out in a way that the edit does not master.
    #[error("the file would not mean what runs: {}", .0.join("; "))]
    Differs(Vec<String>),
}

/// Writes the overlay into a file. The result is parsed, and is the merged configuration or an error.
pub fn write(file: File<'_>, overlay: &Overlay) -> Result<Written, Unwritable> {
    let File { name, text, checked, host_name } = file;
    let merged = merge(&checked.config, overlay);
    let wanted = with_elements(merged.config, &merged.overlay.firewall)?;
    let edited = edit(text, &checked.config, &wanted);
    let text = edited.unwrap_or_else(|| text.to_owned());
    if text.len() > config_file::LONGEST {
        return Err(Unwritable::TooLong);
    }
    let checked = parse(name, &text, host_name).map_err(Unwritable::Wrong)?;
    if checked.config != wanted {
        return Err(Unwritable::Differs(diff(&checked.config, &wanted)));
    }
    let set_files = set_files(&checked.config, merged.overlay.firewall);
    Ok(Written { text, checked, dropped: merged.dropped, set_files })
}

/// The configuration with the elements that listed sets have become.
fn with_elements(mut config: Config, overlay: &FirewallOverlay) -> Result<Config, Unwritable> {
    for (name, source) in &mut config.firewall.sets {
        let (Source::Listed(list), Some(changes)) = (source, overlay.sets.get(name)) else {
            continue;
        };
        if changes.loaded {
            return Err(Unwritable::Loaded(name.clone()));
        }
        listed(list, changes);
    }
    Ok(config)
}

fn set_files(config: &Config, overlay: FirewallOverlay) -> Vec<SetFile> {
    let sets = overlay.sets.into_iter();
    sets.filter_map(|(set, changes)| match config.firewall.sets.get(&set) {
        Some(Source::File(path)) => Some(SetFile { path: path.clone(), set, changes }),
        Some(Source::Listed(_)) | None => None,
    })
    .collect()
}
