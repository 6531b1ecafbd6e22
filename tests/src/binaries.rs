//! Where the project's own binaries are: beside the one that runs, or in the folder of another profile.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// The project's binaries.
#[derive(Clone, Debug)]
pub struct Binaries {
    /// The daemon.
    pub agent: PathBuf,
    /// The command line.
    pub ctl: PathBuf,
    /// The tool that serves HTTP as a backend.
    pub xtask: PathBuf,
}

impl Binaries {
    /// The binaries of the profile that this program was built with.
    pub fn of_this_profile() -> Result<Self> {
        let this = std::env::current_exe().context("find the running binary")?;
        let folder = this
            .ancestors()
            .skip(1)
            .find(|folder| folder.file_name().is_none_or(|name| name != "deps"))
            .context("find the folder of the running binary")?;
        Self::in_folder(folder)
    }

    /// The binaries in `folder`.
    pub fn in_folder(folder: &Path) -> Result<Self> {
        Ok(Self {
            agent: existing(folder, "lb-agent")?,
            ctl: existing(folder, "lb-ctl")?,
            xtask: existing(folder, "xtask")?,
        })
    }

    /// The same with an agent of the layout before, for tests of upgrades.
    pub fn before(&self) -> Result<Self> {
        let folder = self.agent.parent().context("find the folder of the binaries")?;
        let agent = existing(folder, "lb-agent-before")
            .context("`cargo build -p lb-agent --features layout-before` makes it")?;
        Ok(Self { agent, ..self.clone() })
    }
}

fn existing(folder: &Path, name: &str) -> Result<PathBuf> {
    let path = folder.join(name);
    ensure!(path.exists(), "{} is not there: build it with cargo build", path.display());
    Ok(path)
}
