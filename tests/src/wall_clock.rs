//! A wall clock that jumps, for one agent: the machine's own stays as it is.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::binaries::Binaries;
use crate::command::run;

const SOURCE: &str = include_str!("wall_clock.c");

/// The clock of whoever runs [`WallClock::binaries`].
#[derive(Debug)]
pub struct WallClock(PathBuf);

impl WallClock {
    /// Right until it is set; what it needs lies in this folder.
    pub fn new(folder: &Path) -> Result<Self> {
        let folder = folder.join("wall-clock");
        fs::create_dir_all(&folder)?;
        let (source, library) = (folder.join("wall_clock.c"), folder.join("wall_clock.so"));
        fs::write(&source, SOURCE).context("write the clock's source")?;
        let mut compile = Command::new("cc");
        run(compile.args(["-shared", "-fPIC", "-O2", "-Wall", "-o"]).arg(library).arg(source))?;
        let clock = Self(folder);
        clock.set_off(0)?;
        Ok(clock)
    }

    /// An agent that has this clock.
    pub fn binaries(&self) -> Result<Binaries> {
        let binaries = Binaries::of_this_profile()?;
        let (agent, folder) = (self.0.join("lb-agent"), self.0.display());
        let script = format!(
            "#!/bin/sh\nexport LD_PRELOAD={folder}/wall_clock.so WALL_CLOCK={folder}/seconds\nexec {} \"$@\"\n",
            binaries.agent.display()
        );
        fs::write(&agent, script).context("write a script that starts the agent")?;
        fs::set_permissions(&agent, Permissions::from_mode(0o755))?;
        Ok(Binaries { agent, ..binaries })
    }

    /// Sets it off by so many seconds, at once.
    pub fn set_off(&self, seconds: i64) -> Result<()> {
        let (new, now) = (self.0.join("seconds.new"), self.0.join("seconds"));
        fs::write(&new, seconds.to_string())?;
        fs::rename(new, now).context("set the clock")
    }
}
