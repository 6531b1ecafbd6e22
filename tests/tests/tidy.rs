//! Rules of style that clippy cannot express.

use std::path::{Path, PathBuf};

use lb_agent::model::config::parse;
use lb_common::decap;
use lb_common::verdict::{Kind, Verdict};

const MOST_LINES: usize = 350;

/// What the pure part of the agent has no use for. That it reads no clock is clippy's to see to.
const BANNED_IN_MODEL: &[&str] = &[
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "tokio",
    "tracing",
    "std::fs",
    "std::thread",
    "crate::io",
];

/// A source file: its path from the root of the repository, and its text.
struct Source {
    path: PathBuf,
    text: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn is_skipped(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "target" || name.to_string_lossy().starts_with('.'))
}

fn collect(folder: &Path, sources: &mut Vec<Source>) -> std::io::Result<()> {
    for entry in folder.read_dir()? {
        let path = entry?.path();
        if is_skipped(&path) {
            continue;
        }
        if path.is_dir() {
            collect(&path, sources)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path)?;
            let path = path.strip_prefix(root()).unwrap_or(&path).to_owned();
            sources.push(Source { path, text });
        }
    }
    Ok(())
}

/// All Rust files of the repository; the test fails where there are none to look at.
fn sources() -> std::io::Result<Vec<Source>> {
    let mut sources = Vec::new();
    collect(&root(), &mut sources)?;
    assert!(sources.len() > 20, "only {} files were found", sources.len());
    Ok(sources)
}

/// `path: complaint` for each file that `complain` complains about.
fn complaints(complain: impl Fn(&Source) -> Option<String>) -> Vec<String> {
    let sources = match sources() {
        Ok(sources) => sources,
        Err(error) => return vec![format!("read the sources: {error}")],
    };
    let lines = sources.iter().filter_map(|source| {
        complain(source).map(|complaint| format!("{}: {complaint}", source.path.display()))
    });
    lines.collect()
}

#[test]
fn files_are_short() {
    let long = complaints(|source| {
        let n = source.text.lines().count();
        (n > MOST_LINES).then(|| format!("{n} lines, {MOST_LINES} at most"))
    });
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn every_file_says_first_what_it_is() {
    let silent = complaints(|source| {
        (!source.text.starts_with("//! ")).then(|| "does not begin with `//!`".to_owned())
    });
    assert!(silent.is_empty(), "{silent:#?}");
}

#[test]
fn the_model_has_no_hands() {
    let model = Path::new("lb-agent/src/model");
    let hands = complaints(|source| {
        let word = BANNED_IN_MODEL.iter().find(|word| source.text.contains(**word))?;
        source.path.starts_with(model).then(|| format!("uses {word}"))
    });
    assert!(hands.is_empty(), "{hands:#?}");
}

#[test]
fn nothing_is_left_for_later() {
    let marks = ["TO", "FIX"].map(|half| half.to_owned() + if half == "TO" { "DO" } else { "ME" });
    let open = complaints(|source| {
        let mut lines = source.text.lines().enumerate();
        let (index, _) = lines.find(|(_, line)| marks.iter().any(|mark| line.contains(mark)))?;
        Some(format!("line {}", index + 1))
    });
    assert!(open.is_empty(), "{open:#?}");
}

#[test]
fn no_test_is_ignored() {
    let mark = format!("#[{}", "ignore");
    let ignored = complaints(|source| source.text.contains(&mark).then(|| mark.clone()));
    assert!(ignored.is_empty(), "{ignored:#?}");
}

/// A row of a table of verdicts.
fn row(number: u32, name: &str, kind: Kind, help: &str) -> String {
    format!("| {number} | `{name}` | {} | {help} |\n", kind.name())
}

/// The page of verdicts as the code has them.
fn verdicts_page() -> String {
    let mut page = String::from(
        "# Verdicts\n\nEvery packet ends in exactly one of these. The names are labels of the metric \
         `lb_packets_total` and rows of `lb-ctl drops`.\nThis page is generated from the code: \
         `UPDATE_DOCS=1 cargo test -p lb-tests --test tidy`.\n\n| number | verdict | kind | meaning |\n|---|---|---|---|\n",
    );
    page.extend(
        Verdict::ALL
            .iter()
            .map(|verdict| row(verdict.number(), verdict.name(), verdict.kind(), verdict.help())),
    );
    page
}

#[test]
fn every_verdict_is_documented() {
    let path = root().join("docs/verdicts.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, verdicts_page()).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(kept, verdicts_page(), "docs/verdicts.md is not what the code says");
}

#[test]
fn every_verdict_of_decapsulation_is_documented() {
    let path = root().join("docs/decap.md");
    let kept = page("docs/decap.md");
    let (text, _) = kept.split_once("|---|---|---|---|\n").unwrap();
    let mut wanted = format!("{text}|---|---|---|---|\n");
    wanted.extend(
        decap::Verdict::ALL
            .iter()
            .map(|verdict| row(verdict.number(), verdict.name(), verdict.kind(), verdict.help())),
    );
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    assert_eq!(page("docs/decap.md"), wanted, "docs/decap.md is not what the code says");
}

#[expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]
fn page(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap()
}

#[test]
fn the_configuration_in_the_readme_is_valid() {
    let readme = page("README.md");
    let (_, rest) = readme.split_once("```toml\n").unwrap();
    let (text, _) = rest.split_once("```").unwrap();
    let checked = parse("README.md", text, "host").unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(checked.config.services.len(), 1);
}

/// Words between backticks and targets of links, as far as they look like paths of the repository.
fn paths_in(page: &str) -> Vec<&str> {
    let quoted = page.split('`').skip(1).step_by(2);
    let linked = page.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0));
    let folders = ["lb-agent/", "lb-common/", "lb-ctl/", "lb-ebpf/", "tests/", "xtask/", "docs/"];
    let in_repository = |path: &&str| folders.iter().any(|folder| path.starts_with(folder));
    quoted.filter(in_repository).chain(linked.filter(|link| !link.contains("://"))).collect()
}

#[test]
fn documents_name_only_files_that_exist() {
    for name in ["README.md", "ARCHITECTURE.md"] {
        let page = page(name);
        let paths = paths_in(&page);
        assert!(paths.len() > 3, "only {paths:?} in {name}");
        let missing: Vec<_> = paths.iter().filter(|path| !root().join(path).exists()).collect();
        assert!(missing.is_empty(), "{name} names {missing:?}");
    }
}

#[test]
fn the_map_of_the_code_has_every_file_of_the_packet_path() {
    let map = page("ARCHITECTURE.md");
    let missing = complaints(|source| {
        let file = source.path.strip_prefix("lb-ebpf/src").ok()?.to_str()?;
        let is_top = !file.contains('/');
        (is_top && !map.contains(&format!("`{file}`"))).then(|| "not on the map".to_owned())
    });
    assert!(missing.is_empty(), "{missing:#?}");
}
