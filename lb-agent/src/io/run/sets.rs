//! The files of sets: read with the configuration, looked at every second, and kept for a start at which one
//! cannot be read.
//!
//! A file is read again when it has changed and then stayed the same from one look to the next, so that one
//! which is being written is not taken for whole.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use lb_common::api::{ConfigReport, ConfigText};

use super::faults::Act;
use super::runtime::Runtime;
use crate::io::causes::with_causes;
use crate::io::memory;
use crate::io::message::{Failure, Message};
use crate::io::store;
use crate::model::agent::{Event, Session};
use crate::model::config::Config;
use crate::model::firewall::{Elements, LONGEST_SET, RuleNumbers, parse_set};
use crate::model::overlay::sets::{self, Stock};
use crate::model::overlay::{FirewallOverlay, Overlay};

const FILES: Act = Act::dispensable("keep the sets in step with their files");
const KEEP: Act = Act::dispensable("keep a copy of the sets");
const FOLLOW: Act = Act::needed("take what the file of a set holds now");
const COUNTS: Act = Act::dispensable("set the counters of new rules to zero");
const NUMBERS: Act = Act::dispensable("keep the numbers of the rules' counters");

/// Tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    length: u64,
    changed_at: (i64, i64),
}

/// What is known of the file of a set.
#[derive(Debug, Default)]
struct Known {
    path: PathBuf,
    /// The state in which it was read last, whatever came of it.
    read: Option<Stamp>,
    /// The state at the last look.
    seen: Option<Stamp>,
    /// It is to be read whether it has changed or not.
    is_wanted: bool,
    /// Why it was refused.
    problem: Option<String>,
    /// Whether that was for want of room: another change may make some.
    wants_room: bool,
    is_being_read: bool,
}

/// The files of sets by the set's name.
#[derive(Debug, Default)]
pub(super) struct SetFiles(BTreeMap<String, Known>);

/// What was read of a file.
#[derive(Debug)]
pub struct ReadSet {
    set: String,
    path: PathBuf,
    stamp: Option<Stamp>,
    elements: Result<Elements, String>,
}

impl ReadSet {
    fn of(set: &str, path: &Path) -> Self {
        // The stamp comes first: what is written after it is read again.
        let (stamp, elements) = (stamp(path), read(path));
        let elements = elements.map_err(|reason| format!("{}: {reason}", path.display()));
        Self { set: set.to_owned(), path: path.to_owned(), stamp, elements }
    }

    fn problem(&self) -> Option<String> {
        Some(format!("set {}: {}", self.set, self.elements.as_ref().err()?))
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let of = fs::metadata(path).ok()?;
    let changed_at = (of.mtime(), of.mtime_nsec());
    Some(Stamp { inode: of.ino(), length: of.len(), changed_at })
}

fn read(path: &Path) -> Result<Elements, String> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    let most = u64::try_from(LONGEST_SET).unwrap_or(u64::MAX).saturating_add(1);
    file.take(most).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() > LONGEST_SET {
        return Err(format!("it is longer than {} MiB", LONGEST_SET >> 20));
    }
    parse_set(&bytes).map_err(|bad| bad.to_string())
}

impl SetFiles {
    /// Takes note of what was read.
    fn note(&mut self, read: &ReadSet) {
        let problem = read.elements.as_ref().err().cloned();
        let (path, stamp) = (read.path.clone(), read.stamp);
        let known = Known { path, read: stamp, seen: stamp, problem, ..Known::default() };
        self.0.insert(read.set.clone(), known);
    }

    /// What was read of a set's file was not taken.
    fn read_again(&mut self, set: &str) {
        if let Some(known) = self.0.get_mut(set) {
            known.is_wanted = true;
        }
    }

    /// Something else than what their files hold now may be in force.
    pub(super) fn read_all_again(&mut self) {
        self.0.values_mut().for_each(|known| known.is_wanted = true);
    }

    /// What a file holds was refused for want of room.
    pub(super) fn refuse(&mut self, set: &str, reason: &str) {
        if let Some(known) = self.0.get_mut(set) {
            known.problem = Some(format!("{}: {reason}", known.path.display()));
            known.wants_room = true;
        }
    }

    /// There may be room now for what was refused.
    pub(super) fn try_refused_again(&mut self) {
        let refused = self.0.values_mut().filter(|known| known.wants_room);
        refused.for_each(|known| known.is_wanted = true);
    }

    /// Why the file of a set was refused, if it was.
    pub(super) fn problem(&self, set: &str) -> Option<&str> {
        self.0.get(set)?.problem.as_deref()
    }

    /// Forgets what is no file of a set any more; says which files are to be read.
    fn look<'a>(
        &mut self,
        files: impl Iterator<Item = (&'a str, &'a Path)>,
    ) -> Vec<(String, PathBuf)> {
        let mut before = std::mem::take(&mut self.0);
        let mut changed = Vec::new();
        for (set, path) in files {
            let known = before.remove(set).filter(|known| known.path == path);
            let mut known = known.unwrap_or(Known { path: path.to_owned(), ..Known::default() });
            let now = stamp(path);
            let is_due = known.is_wanted || now != known.read;
            if is_due && now == known.seen && !known.is_being_read {
                known.is_being_read = true;
                changed.push((set.to_owned(), path.to_owned()));
            }
            known.seen = now;
            self.0.insert(set.to_owned(), known);
        }
        changed
    }

    fn problems(&self) -> Result<(), String> {
        let problems = self
            .0
            .iter()
            .filter_map(|(set, known)| Some(format!("set {set}: {}", known.problem.as_deref()?)));
        let problems: Vec<String> = problems.collect();
        if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) }
    }
}

/// What a start takes the sets from.
pub(super) struct Started {
    pub(super) stock: Stock,
    pub(super) files: SetFiles,
}

/// Reads the sets for a start: from what was loaded, or from their files; of a file that cannot be read what
/// was read of it last.
pub(super) fn at_start(config: &Config, overlay: &Overlay) -> Started {
    let state_dir = &config.agent.state_dir;
    let mut started = Started { stock: Stock::new(), files: SetFiles::default() };
    for (set, path) in sets::files(config, &overlay.firewall) {
        let read = ReadSet::of(set, path);
        started.files.note(&read);
        if let Ok(elements) = read.elements {
            started.stock.insert(set.to_owned(), elements);
        }
    }
    for set in config.firewall.sets.keys() {
        if !started.stock.contains_key(set)
            && let Ok(elements) = read(&store::set_path(state_dir, set))
        {
            started.stock.insert(set.clone(), elements);
        }
    }
    started
}

/// Reads the files of all sets of a configuration; all that is wrong with them, else.
pub(super) async fn of_config(config: &Config) -> Result<Vec<ReadSet>, String> {
    let none = FirewallOverlay::default();
    let files = sets::files(config, &none);
    let files: Vec<_> = files.map(|(set, path)| (set.to_owned(), path.to_owned())).collect();
    let read = tokio::task::spawn_blocking(move || {
        files.iter().map(|(set, path)| ReadSet::of(set, path)).collect::<Vec<_>>()
    });
    let read = read.await.map_err(|error| error.to_string())?;
    let wrong: Vec<String> = read.iter().filter_map(ReadSet::problem).collect();
    if wrong.is_empty() { Ok(read) } else { Err(wrong.join("\n")) }
}

/// What is wrong with the files of a configuration's sets, a line each; without an agent.
pub fn check_sets(config: &Config) -> Vec<String> {
    let none = FirewallOverlay::default();
    let read = sets::files(config, &none).map(|(set, path)| ReadSet::of(set, path));
    read.filter_map(|one| one.problem()).collect()
}

/// What was read, as the core takes it.
pub(super) fn stock(read: &[ReadSet]) -> Stock {
    let good = read.iter().filter_map(|one| Some((one.set.clone(), one.elements.clone().ok()?)));
    good.collect()
}

impl Runtime {
    /// Looks whether files of sets have changed, and has those read beside the loop.
    pub(super) fn look_at_set_files(&mut self) {
        let overlay = &self.agent.overlay().firewall;
        let changed = self.set_files.look(sets::files(self.agent.config(), overlay));
        for (set, path) in changed {
            let messages = self.messages.clone();
            tokio::task::spawn_blocking(move || {
                // It fails when the agent is stopping, and then nobody wants to know.
                drop(messages.blocking_send(Message::SetRead(ReadSet::of(&set, &path))));
            });
        }
        self.faults.note(FILES, self.set_files.problems());
    }

    /// The file of a set was read again.
    pub(super) async fn set_read(&mut self, read: ReadSet) {
        let mut files = sets::files(self.agent.config(), &self.agent.overlay().firewall);
        if !files.any(|(set, path)| set == read.set && path == read.path) {
            return;
        }
        drop(files);
        self.set_files.note(&read);
        if let ReadSet { set, elements: Ok(elements), .. } = read {
            let decided = self.decide(Event::SetRead { set: set.clone(), elements }, false).await;
            if decided.is_err() {
                self.set_files.read_again(&set);
            } else if self.set_files.problem(&set).is_none() {
                self.set_files.try_refused_again();
            }
            self.faults.note(FOLLOW, decided.map(drop).map_err(|failure| failure.problem.error));
            self.announce();
        }
        self.faults.note(FILES, self.set_files.problems());
    }

    /// The files of the sets of a configuration that is to be loaded.
    pub(super) async fn read_sets(&mut self, config: &Config) -> Result<Vec<ReadSet>, Failure> {
        self.meanwhile(of_config(config)).await.map_err(Failure::invalid)
    }

    /// What is wrong with a configuration, and what may surprise.
    pub(super) async fn check_config(
        &mut self,
        text: &ConfigText,
        session: Option<Session>,
    ) -> ConfigReport {
        let mut report = self.source.report(text);
        let Ok(checked) = self.source.check(&text.name, &text.text) else { return report };
        match self.meanwhile(of_config(&checked.config)).await {
            Ok(read) => {
                let cut =
                    session.and_then(|it| self.agent.cut_by(&checked.config, &stock(&read), it));
                report.notes.extend(cut);
            }
            Err(problems) => {
                report.valid = false;
                report.count = problems.lines().count();
                report.problems = problems;
            }
        }
        report
    }

    /// The configuration that they belong to was taken.
    pub(super) fn sets_taken(&mut self, read: &[ReadSet]) {
        for one in read {
            self.set_files.note(one);
        }
        self.faults.note(FILES, self.set_files.problems());
    }

    /// Sets counters to zero that other rules have had.
    pub(super) fn clear_rule_counts(&mut self, numbers: &[u32]) {
        let cleared = self.datapath.clear_rule_counts(numbers);
        self.faults.note(COUNTS, cleared.map_err(|error| with_causes(&error)));
    }

    /// Keeps on disk which rule has which counter.
    pub(super) fn save_rule_numbers(&mut self, numbers: &RuleNumbers) {
        let saved = store::save_rule_numbers(&self.agent.config().agent.state_dir, numbers);
        self.faults.note(NUMBERS, saved.map_err(|error| with_causes(&error)));
    }

    /// Keeps what was read at the start.
    pub(super) async fn keep_sets(&mut self) {
        for (set, elements) in self.agent.stock().clone() {
            self.save_set(set, elements).await;
        }
        tokio::task::spawn_blocking(memory::give_back);
    }

    /// Keeps on disk what a set holds, for the next start.
    pub(super) async fn save_set(&mut self, set: String, elements: Elements) {
        let state_dir = self.agent.config().agent.state_dir.clone();
        let save = move || store::save_set(&state_dir, &set, &elements);
        let saved = self.meanwhile(tokio::task::spawn_blocking(save)).await;
        let saved = saved.map_err(|error| with_causes(&error));
        let saved = saved.and_then(|saved| saved.map_err(|error| with_causes(&error)));
        self.faults.note(KEEP, saved);
    }
}
