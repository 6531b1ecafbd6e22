//! Configurations: as text, checked, compared.

use serde::{Deserialize, Serialize};

/// A configuration as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigText {
    /// Name to show in messages; the path of the file.
    pub name: String,
    /// The TOML text.
    pub text: String,
}

/// Whether a configuration is valid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigReport {
    /// Whether it could be applied.
    pub valid: bool,
    /// Every problem, rendered with line and column; empty where there is none.
    pub problems: String,
    /// Number of problems.
    pub count: usize,
    /// What is allowed but may surprise, a sentence each.
    pub notes: Vec<String>,
}

/// What the running configuration differs in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigDiff {
    /// Lines of the overlay (changes at run time) against the file as it was loaded.
    pub overlay: Vec<String>,
    /// Lines of the file on disk against the file as it was loaded.
    pub file: Vec<String>,
}
