//! The configuration file: read, checked, and what is known of it since.

use std::io;
use std::path::{Path, PathBuf};

use lb_common::api::{ConfigReport, ConfigText};
use lb_common::config_file;

use crate::model::config::{Checked, Problems, parse};
use crate::model::overlay::Overlay;
use crate::model::overlay::write::{File, Unwritable, Written, write};

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be read.
    #[error("read {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// Everything that is wrong with it.
    #[error("{0}")]
    Problems(Problems),
    /// Everything that is wrong with the files of its sets.
    #[error("{0}")]
    Sets(String),
}

/// Where the running configuration comes from.
pub(super) struct Source {
    path: PathBuf,
    host_name: String,
    /// The text that is running.
    text: String,
    /// Why the file as it is now was refused, if it was.
    pub(super) problem: Option<String>,
}

impl Source {
    /// Reads and checks the file.
    pub(super) fn load(path: &Path) -> Result<(Self, Checked), ReadError> {
        let mut source = Self {
            path: path.to_owned(),
            host_name: host_name(),
            text: String::new(),
            problem: None,
        };
        let (text, checked) = source.read()?;
        source.text = text;
        Ok((source, checked))
    }

    /// Reads and checks the file as it is now.
    pub(super) fn read(&self) -> Result<(String, Checked), ReadError> {
        let text = config_file::read(&self.path)
            .map_err(|source| ReadError::File { path: self.path.clone(), source })?;
        let checked = self.check(&self.name(), &text).map_err(ReadError::Problems)?;
        Ok((text, checked))
    }

    /// Checks a text; `name` is shown in its problems.
    pub(super) fn check(&self, name: &str, text: &str) -> Result<Checked, Problems> {
        parse(name, text, &self.host_name)
    }

    /// Writes the overlay into a text that was read; the file is not touched.
    pub(super) fn with_overlay(
        &self,
        text: &str,
        checked: &Checked,
        overlay: &Overlay,
    ) -> Result<Written, Unwritable> {
        let (name, host_name) = (&*self.name(), &*self.host_name);
        write(File { name, text, checked, host_name }, overlay)
    }

    /// The same as a report.
    pub(super) fn report(&self, config: &ConfigText) -> ConfigReport {
        match self.check(&config.name, &config.text) {
            Ok(checked) => ConfigReport {
                valid: true,
                problems: String::new(),
                count: 0,
                notes: checked.notes,
            },
            Err(problems) => ConfigReport {
                valid: false,
                problems: problems.to_string(),
                count: problems.len(),
                notes: Vec::new(),
            },
        }
    }

    /// This text is running from now on.
    pub(super) fn taken(&mut self, text: String) {
        self.text = text;
        self.problem = None;
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The path as it is shown.
    pub(super) fn name(&self) -> String {
        self.path.display().to_string()
    }

    pub(super) fn running(&self) -> ConfigText {
        ConfigText { name: self.name(), text: self.text.clone() }
    }
}

fn host_name() -> String {
    let name = nix::unistd::gethostname().ok();
    name.and_then(|name| name.into_string().ok()).unwrap_or_else(|| "localhost".into())
}

/// Reads and checks a file, without an agent.
pub fn check_file(path: &Path) -> Result<Checked, ReadError> {
    Source::load(path).map(|(_, checked)| checked)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::io::causes::with_causes;

    const VALID: &str = "version = 1\n[datapath]\ninterfaces = [\"eth0\"]\n";

    #[test]
    fn a_file_that_became_wrong_leaves_the_running_text() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lb.toml");
        fs::write(&path, VALID).unwrap();
        let (mut source, checked) = Source::load(&path).unwrap();
        assert!(!checked.config.agent.node.is_empty());
        fs::write(&path, "version = 2").unwrap();
        assert!(matches!(source.read(), Err(ReadError::Problems(_))));
        assert_eq!(source.running().text, VALID);
        source.problem = Some("wrong".into());
        source.taken("new".into());
        assert_eq!((source.running().text.as_str(), source.problem), ("new", None));
    }

    #[test]
    fn what_is_no_text_is_told_and_leaves_the_running_text() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lb.toml");
        fs::write(&path, VALID).unwrap();
        let (source, _) = Source::load(&path).unwrap();
        fs::write(&path, b"version = 1\n\xff").unwrap();
        let error = with_causes(&source.read().unwrap_err());
        assert!(error.contains("lb.toml: it is not UTF-8 text, first on line 2"), "{error}");
        assert_eq!(source.running().text, VALID);
    }

    #[test]
    fn a_report_counts_the_problems_and_shows_the_name_that_was_given() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lb.toml");
        fs::write(&path, VALID).unwrap();
        let (source, _) = Source::load(&path).unwrap();
        let text = format!("{VALID}colour = 1\nshape = 2\n");
        let report = source.report(&ConfigText { name: "draft.toml".into(), text });
        assert_eq!((report.valid, report.count), (false, 2));
        assert!(report.problems.contains("draft.toml:4:1"), "{}", report.problems);
        let report = source.report(&ConfigText { name: "draft.toml".into(), text: VALID.into() });
        assert_eq!((report.valid, report.count, report.problems.as_str()), (true, 0, ""));
    }
}
