//! Until when no other director can have taken over from this one, in a file: an agent that comes back before that goes
//! on where the last one was killed, whatever its configuration says of intervals by now.
//!
//! It lies in a folder that a boot empties, and is written with every advertisement: one small write, never synced.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use crate::io::store;

const NAME: &str = "vrrp.beat";

/// The file.
#[derive(Debug)]
pub(super) struct Beats {
    file: File,
    boot: String,
    /// What it said when it was opened: groups, and until when they are Active.
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

    /// Groups that are still Active, `now` after the boot.
    pub(super) fn recent(&self, now: Duration) -> BTreeSet<String> {
        let recent = self.before.iter().filter(|(_, until)| now < **until);
        recent.map(|(group, _)| group.clone()).collect()
    }

    /// Notes that these groups are Active, and the intervals that they have announced. All others wait for three of
    /// these and their skew (RFC 9568 6.1).
    pub(super) fn write<'a>(
        &mut self,
        active: impl Iterator<Item = (&'a str, Duration)>,
        now: Duration,
    ) -> io::Result<()> {
        let mut text = format!("{}\n", self.boot);
        let until = |interval: Duration| (now + interval * 3).as_nanos();
        text.extend(active.map(|(group, interval)| format!("{} {group}\n", until(interval))));
        self.file.write_all_at(text.as_bytes(), 0)?;
        if text.len() < self.length {
            self.file.set_len(u64::try_from(text.len()).map_err(io::Error::other)?)?;
        }
        self.length = text.len();
        Ok(())
    }

    /// Nothing is Active any more.
    pub(super) fn clear(&mut self) {
        // A file that stays is not believed for long.
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

    const A: (&str, Duration) = ("a", Duration::from_secs(1));
    const B: (&str, Duration) = ("b", Duration::from_millis(10));

    fn recent(folder: &Path, now_ms: u64) -> Vec<String> {
        let beats = Beats::open(folder).unwrap();
        beats.recent(Duration::from_millis(now_ms)).into_iter().collect()
    }

    #[test]
    fn who_was_active_less_than_three_of_the_intervals_that_it_announced_ago_still_is() {
        let folder = tempfile::tempdir().unwrap();
        let mut beats = Beats::open(folder.path()).unwrap();
        beats.write([A, B].into_iter(), Duration::from_secs(4)).unwrap();
        assert_eq!(recent(folder.path(), 4_029), ["a", "b"]);
        assert_eq!(recent(folder.path(), 4_030), ["a"]);
        beats.write([A].into_iter(), Duration::from_secs(5)).unwrap();
        assert_eq!(recent(folder.path(), 7_999), ["a"]);
        assert!(recent(folder.path(), 8_000).is_empty());
    }

    #[test]
    fn a_clean_stop_or_another_boot_leaves_nobody_active() {
        let folder = tempfile::tempdir().unwrap();
        let mut beats = Beats::open(folder.path()).unwrap();
        beats.write([A].into_iter(), Duration::from_secs(4)).unwrap();
        beats.clear();
        assert!(recent(folder.path(), 4_001).is_empty());
        std::fs::write(folder.path().join(NAME), "another-boot\n7000000000 a\n").unwrap();
        assert!(recent(folder.path(), 4_001).is_empty());
    }
}
