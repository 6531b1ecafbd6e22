//! The reload that writes the changes made at run time into the configuration file.
//!
//! It is the agent that writes, as for `config apply`: between the look at the overlay and its end no other change
//! can come, and the path is the agent's own. Everything that can be refused is tried before the file is
//! replaced. An agent that dies between that and the end of the overlay loses nothing: laid over a file
//! that has it all already, the overlay changes nothing.

use lb_common::api::Applied;
use similar::TextDiff;

use super::changes::refused;
use super::runtime::Runtime;
use crate::io::causes::with_causes;
use crate::io::message::{Failure, Fate, Mode};
use crate::io::store;
use crate::io::store::StoreError;
use crate::model::firewall::set_text;
use crate::model::overlay::write::{SetFile, Unwritable, Written};

/// What is to take the place of the file.
struct Edit {
    written: Written,
    /// How its text differs from that of the file; `None`: not at all.
    diff: Option<String>,
}

impl Runtime {
    pub(super) async fn save_and_reload(&mut self, dry_run: bool) -> Result<Applied, Failure> {
        let edit = self.edit()?;
        let tried = self.load_edit(&edit, true).await?;
        if dry_run {
            return Ok(tried);
        }
        self.save_set_files(&edit.written.set_files)?;
        if edit.diff.is_some() {
            let replaced = store::replace(self.source.path(), edit.written.text.as_bytes());
            replaced.map_err(|error| self.not_saved(&error))?;
        }
        self.reloading();
        let applied = self.load_edit(&edit, false).await;
        self.reloaded(&applied);
        self.confirm(applied?)
    }

    /// The file as it is now, with the overlay written into it.
    fn edit(&self) -> Result<Edit, Failure> {
        let (text, checked) = self.source.read().map_err(|error| refused(&error))?;
        let written = self.source.with_overlay(&text, &checked, self.agent.overlay());
        let written = written.map_err(|error| unwritable(&self.source.name(), &error))?;
        let diff =
            (text != written.text).then(|| unified(&self.source.name(), &text, &written.text));
        Ok(Edit { written, diff })
    }

    async fn load_edit(&mut self, edit: &Edit, dry_run: bool) -> Result<Applied, Failure> {
        let Edit { written: Written { text, checked, dropped, set_files }, diff } = edit;
        let mode = Mode { dry_run, overlay: Fate::Discard, ..Mode::default() };
        let mut applied = self.load(text.clone(), checked.clone(), mode).await?;
        applied.changes.extend(dropped.iter().cloned());
        applied.changes.extend(set_files.iter().map(|file| {
            let SetFile { path, set, .. } = file;
            format!("set {set} is written into {}", path.display())
        }));
        applied.file_diff.clone_from(diff);
        Ok(applied)
    }

    /// Sets go first: what is in its file already is no change of it.
    fn save_set_files(&self, files: &[SetFile]) -> Result<(), Failure> {
        for file in files {
            let text = if file.changes.loaded {
                self.agent.sets().get(&file.set).map(set_text).unwrap_or_default()
            } else {
                let text = std::fs::read_to_string(&file.path);
                file.edit(&text.map_err(|error| {
                    Failure::internal(format!("read {}: {error}", file.path.display()))
                })?)
            };
            let replaced = store::replace(&file.path, text.as_bytes());
            replaced.map_err(|error| self.not_saved(&error))?;
        }
        Ok(())
    }

    fn not_saved(&self, error: &StoreError) -> Failure {
        let name = self.source.name();
        let reason = with_causes(error);
        let failure =
            Failure::internal(format!("nothing is saved, {name} stays as it was: {reason}"));
        if !error.is_forbidden() {
            return failure;
        }
        let help = format!(
            "let the agent write there (in its unit: ReadWritePaths=, and CAP_CHOWN for a file of another user), or do it yourself: \
             `lb-ctl reload --save --dry-run | patch {name} && lb-ctl reload --discard`"
        );
        Failure { status: hyper::StatusCode::FORBIDDEN, ..failure }.with_help(&help)
    }
}

fn unwritable(name: &str, error: &Unwritable) -> Failure {
    let error = format!("the changes made at run time cannot be written into {name}: {error}");
    Failure::invalid(error).with_help(
        "nothing is changed; write what `lb-ctl config diff` shows into the file, then `lb-ctl reload --discard`",
    )
}

fn unified(name: &str, before: &str, after: &str) -> String {
    TextDiff::from_lines(before, after).unified_diff().header(name, name).to_string()
}
