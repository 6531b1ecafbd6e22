//! When this director was last Active, in a file: an agent that comes back soon enough goes on where the last one was
//! killed, before any other director can have taken over.
//!
//! It lies in a folder that a boot empties, and is written with every advertisement: one small write, never synced.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use crate::io::store;
use crate::model::config;

const NAME: &str = "vrrp.beat";

/// The file.
#[derive(Debug)]
pub(super) struct Beats {
    file: File,
    boot: String,
    /// What it said when it was opened: groups, and when they last advertised.
    before: BTreeMap<String, Duration>,
    length: usize,
}

impl Beats {
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        let path = folder.join(NAME);
        let boot = store::boot_id().map_err(io::Error::other)?;
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let before = parse(&text, &boot).unwrap_or_default();
        let file = File::options().write(true).create(true).truncate(false).open(&path)?;
        Ok(Self { file, boot, before, length: text.len() })
    }

    /// Groups that were Active less than three of their intervals ago: all others wait that long and their skew
    /// (RFC 9568 6.1).
    pub(super) fn recent(&self, routers: &[config::Vrrp], now: Duration) -> BTreeSet<String> {
        let is_recent = |router: &&config::Vrrp| {
            let last = self.before.get(&router.group_name());
            last.is_some_and(|last| now.saturating_sub(*last) < router.advert_interval * 3)
        };
        routers.iter().filter(is_recent).map(config::Vrrp::group_name).collect()
    }

    /// Notes that these groups are Active now.
    pub(super) fn write<'a>(
        &mut self,
        active: impl Iterator<Item = &'a str>,
        now: Duration,
    ) -> io::Result<()> {
        let nanoseconds = now.as_nanos();
        let mut text = format!("{}\n", self.boot);
        text.extend(active.map(|group| format!("{nanoseconds} {group}\n")));
        self.file.write_all_at(text.as_bytes(), 0)?;
        if text.len() < self.length {
            self.file.set_len(u64::try_from(text.len()).map_err(io::Error::other)?)?;
        }
        self.length = text.len();
        Ok(())
    }

    /// Nothing is Active any more.
    pub(super) fn clear(&mut self) {
        // A file that stays is only believed for three intervals.
        drop(self.file.set_len(0));
    }
}

fn parse(text: &str, boot: &str) -> Option<BTreeMap<String, Duration>> {
    let mut lines = text.lines();
    lines.next().filter(|line| *line == boot)?;
    let line = |line: &str| {
        let (nanoseconds, group) = line.split_once(' ')?;
        Some((group.to_owned(), Duration::from_nanos(nanoseconds.parse().ok()?)))
    };
    lines.map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::cast::router;

    fn recent(folder: &Path, now_ms: u64) -> Vec<String> {
        let beats = Beats::open(folder).unwrap();
        let routers = [router("a", 51), router("b", 52)];
        beats.recent(&routers, Duration::from_millis(now_ms)).into_iter().collect()
    }

    #[test]
    fn who_was_active_less_than_three_intervals_ago_still_is() {
        let folder = tempfile::tempdir().unwrap();
        let mut beats = Beats::open(folder.path()).unwrap();
        beats.write(["a", "b"].into_iter(), Duration::from_secs(4)).unwrap();
        beats.write(["b"].into_iter(), Duration::from_secs(5)).unwrap();
        assert_eq!(recent(folder.path(), 7_999), ["b"]);
        assert!(recent(folder.path(), 8_000).is_empty());
    }

    #[test]
    fn a_clean_stop_or_another_boot_leaves_nobody_active() {
        let folder = tempfile::tempdir().unwrap();
        let mut beats = Beats::open(folder.path()).unwrap();
        beats.write(["a"].into_iter(), Duration::from_secs(4)).unwrap();
        beats.clear();
        assert!(recent(folder.path(), 4_001).is_empty());
        std::fs::write(folder.path().join(NAME), "another-boot\n4000000000 a\n").unwrap();
        assert!(recent(folder.path(), 4_001).is_empty());
    }
}
