//! What a change did, and what a configuration differs in.

use lb_common::api::{Applied, ConfigDiff, ConfigReport};

use super::prefixed;

/// The lines, then what is written into the file, as a patch that can be used as it is.
pub(crate) fn applied(applied: &Applied) -> String {
    let (before, writing) =
        if applied.dry_run { ("would change: ", "would write:") } else { ("", "written:") };
    let mut text = prefixed(before, &applied.changes);
    if let Some(diff) = &applied.file_diff {
        text.extend([writing, "\n", diff]);
    }
    if text.is_empty() { "nothing to change\n".into() } else { text }
}

pub(crate) fn diff(diff: &ConfigDiff) -> String {
    if diff.overlay.is_empty() && diff.file.is_empty() {
        return "no differences\n".into();
    }
    let mut text = section("Changes made at run time", &diff.overlay);
    if !text.is_empty() && !diff.file.is_empty() {
        text.push('\n');
    }
    text + &section("The file on disk, against the loaded one", &diff.file)
}

fn section(heading: &str, lines: &[String]) -> String {
    if lines.is_empty() {
        return String::new();
    }
    format!("{heading}:\n{}", prefixed("  ", lines))
}

pub(crate) fn report(report: &ConfigReport, name: &str) -> String {
    let text = if report.valid { format!("{name} is valid\n") } else { String::new() };
    text + &prefixed("note: ", &report.notes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_says_that_nothing_changed() {
        let changes = vec!["shop/web1: state drain".into()];
        let mut change = Applied { changes, dry_run: true, ..Applied::default() };
        assert_eq!(applied(&change), "would change: shop/web1: state drain\n");
        change.dry_run = false;
        assert_eq!(applied(&change), "shop/web1: state drain\n");
        assert_eq!(applied(&Applied::default()), "nothing to change\n");
    }

    #[test]
    fn what_is_written_follows_what_changes() {
        let file_diff = Some("--- lb.toml\n+++ lb.toml\n".into());
        let mut change = Applied { dry_run: true, file_diff, ..Applied::default() };
        assert_eq!(applied(&change), "would write:\n--- lb.toml\n+++ lb.toml\n");
        change.dry_run = false;
        change.changes.push("shop/web1: state drain".into());
        let text = "shop/web1: state drain\nwritten:\n--- lb.toml\n+++ lb.toml\n";
        assert_eq!(applied(&change), text);
    }

    #[test]
    fn a_diff_tells_the_overlay_from_the_file() {
        let both = ConfigDiff { overlay: vec!["~ shop/web1".into()], file: vec!["+ dns".into()] };
        assert_eq!(
            diff(&both),
            "\
Changes made at run time:
  ~ shop/web1

The file on disk, against the loaded one:
  + dns
"
        );
        assert_eq!(diff(&ConfigDiff::default()), "no differences\n");
    }

    #[test]
    fn notes_of_a_valid_configuration_are_shown() {
        let valid = ConfigReport {
            valid: true,
            problems: String::new(),
            count: 0,
            notes: vec!["eth0 keeps its own ports open".into()],
        };
        assert_eq!(
            report(&valid, "lb.toml"),
            "lb.toml is valid\nnote: eth0 keeps its own ports open\n"
        );
    }
}
