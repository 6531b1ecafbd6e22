//! What a change did, and what a configuration differs in.

use lb_common::api::{Applied, ConfigDiff, ConfigReport};

use super::prefixed;

pub(crate) fn applied(applied: &Applied) -> String {
    if applied.changes.is_empty() {
        return "nothing to change\n".into();
    }
    let before = if applied.dry_run { "would change: " } else { "" };
    prefixed(before, &applied.changes)
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
        let mut change = Applied { changes: vec!["shop/web1: state drain".into()], dry_run: true };
        assert_eq!(applied(&change), "would change: shop/web1: state drain\n");
        change.dry_run = false;
        assert_eq!(applied(&change), "shop/web1: state drain\n");
        assert_eq!(applied(&Applied::default()), "nothing to change\n");
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
