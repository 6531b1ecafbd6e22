//! What tcpdump sees on an interface, as lines.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Result;

use crate::clock::wait_until;
use crate::link::End;
use crate::process::Process;
use crate::world::World;

const WITHIN: Duration = Duration::from_secs(5);

/// A running capture.
#[derive(Debug)]
pub struct Capture(Process);

impl Capture {
    /// Starts to capture what `filter` chooses (pcap-filter(7)), and waits until tcpdump listens.
    pub fn start(world: &World, end: End<'_>, filter: &str) -> Result<Self> {
        Self::start_in(world.folder(), end, filter)
    }

    /// The same with another folder for its output.
    pub fn start_in(folder: &Path, end: End<'_>, filter: &str) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let mut command = end.namespace.command("tcpdump");
        command.args(["-i", end.interface, "-n", "-e", "-v", "--immediate-mode", "-l", filter]);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tcpdump-{}-{number}", end.namespace.name());
        let capture = Self(Process::start(&name, &mut command, folder)?);
        wait_until("tcpdump to listen", WITHIN, || Ok(capture.0.log().contains("listening on")))?;
        Ok(capture)
    }

    /// What was seen so far.
    pub fn text(&self) -> String {
        self.0.log()
    }

    /// Waits until a text was seen.
    pub fn wait_for(&self, text: &str) -> Result<()> {
        wait_until(&format!("{text} in\n{}", self.text()), WITHIN, || {
            Ok(self.text().contains(text))
        })
    }
}
