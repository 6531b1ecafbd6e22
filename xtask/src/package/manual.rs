//! The manual: lb-ctl(1), lb-agent(8) and their commands from the definition of the arguments, lb.toml(5) from the file
//! that has every key.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use crate::cargo::root;

/// Writes all pages into `folder`.
pub(super) fn write(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    lb_ctl::write_man_pages(folder).context("write the manual of lb-ctl")?;
    write_agent(folder).context("write the manual of lb-agent")?;
    let path = folder.join("lb.toml.5");
    let file = File::create(&path).with_context(|| format!("write {}", path.display()))?;
    page_of_file(&every_key()?)?.to_writer(&mut &file).context("write lb.toml(5)")
}

fn write_agent(folder: &Path) -> std::io::Result<()> {
    let mut all = lb_agent::args::command().disable_help_subcommand(true);
    all.build();
    let commands: Vec<Command> = all.get_subcommands().cloned().collect();
    for command in [all].into_iter().chain(commands) {
        Man::new(command).section("8").manual("Sluice").generate_to(folder)?;
    }
    Ok(())
}

fn every_key() -> Result<String> {
    let path = root()?.join("docs/lb.toml");
    fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
}

/// The comment that the file begins with is the description; each table of the first level is a section.
fn page_of_file(text: &str) -> Result<Roff> {
    let (head, body) = text.split_once("\n\n").context("find the end of the first comment")?;
    ensure!(head.lines().all(|line| line.starts_with('#')), "the file begins with no comment");
    let head: Vec<_> = head.lines().map(|line| line.trim_start_matches('#').trim()).collect();
    let mut page = Roff::new();
    page.control("TH", ["lb.toml", "5", "", "Sluice", "Sluice"]);
    page.control("SH", ["NAME"]).text([roman("lb.toml - configuration of Sluice")]);
    page.control("SH", ["DESCRIPTION"]);
    page.text([roman(head.join("\n").trim())]);
    page.control("SH", ["FORMAT"]);
    add_sections(&mut page, body);
    page.control("SH", ["FILES"])
        .text([roman("/etc/lb/lb.toml, /usr/share/doc/sluice/docs/lb.toml")]);
    page.control("SH", ["SEE ALSO"]).text([roman("lb-agent(8), lb-ctl(1)")]);
    Ok(page)
}

/// The text as it is, with a heading before each new table of the first level.
fn add_sections(page: &mut Roff, body: &str) {
    let mut last = None;
    page.control("nf", []);
    for line in body.lines() {
        let table = table_of(line);
        if table.is_some() && table != last {
            page.control("fi", []);
            page.control("SH", [table.unwrap_or_default().to_uppercase().as_str()]);
            page.control("nf", []);
            last = table;
        }
        page.text([roman(line)]);
    }
    page.control("fi", []);
}

/// `vrrp` of `[[vrrp]]`, and `datapath` of `[datapath.timeouts]`.
fn table_of(line: &str) -> Option<&str> {
    let name = line.strip_prefix('[')?.trim_start_matches('[');
    name.split(['.', ']']).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_and_command_and_the_file_have_a_page() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path()).unwrap();
        for (name, words) in [
            ("lb-ctl.1", "Exit codes"),
            ("lb-ctl-backend-drain.1", "drain"),
            ("lb-agent.8", "SIGHUP"),
            ("lb-agent-check.8", "configuration"),
            ("lb-agent-decap.8", "GUE"),
            ("lb-agent-detach.8", "pins"),
            ("lb.toml.5", "max_flows"),
        ] {
            let page = fs::read_to_string(folder.path().join(name)).unwrap();
            assert!(page.contains(".TH") && page.contains(words), "{name}: {page}");
        }
    }

    #[test]
    fn every_table_is_a_section_once_and_no_line_is_lost() {
        let file = every_key().unwrap();
        let page = page_of_file(&file).unwrap().to_roff();
        for table in ["AGENT", "DATAPATH", "FIREWALL", "SERVICE", "VRRP"] {
            assert_eq!(page.matches(&format!(".SH {table}\n")).count(), 1, "{table}");
        }
        for word in file.split_whitespace().filter(|word| word.chars().all(char::is_alphanumeric)) {
            assert!(page.contains(word), "{word}");
        }
    }
}
