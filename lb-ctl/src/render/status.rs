//! The page of `status`, and the list of `doctor`.

use lb_common::api::{Check, FlowMove, Interface, Status};

use super::table::{Column, Tone, Word, pairs, table};
use super::units::{count, share, span};
use super::{Look, prefixed};

pub(crate) fn page(status: &Status, look: Look) -> String {
    let mut lines = vec![
        ("node", status.node.clone()),
        ("agent", format!("{}, up for {}", status.version, span(status.uptime_seconds))),
        ("configuration", configuration(status)),
        ("interfaces", interfaces(&status.interfaces, look)),
        ("services", status.services.to_string()),
        ("backends", format!("{} of {} take new flows", status.backends_serving, status.backends)),
        ("flows", flows(status)),
    ];
    if look.wide {
        lines.push(("uptime", format!("{} s", status.uptime_seconds)));
    }
    let mut page = pairs(&lines);
    if let Some(problem) = &status.config_problem {
        page += "\nThe configuration file was refused; the old configuration is running:\n";
        page += &prefixed("  ", problem.lines());
    }
    if !status.warnings.is_empty() {
        page.push('\n');
        page += &prefixed("warning: ", &status.warnings);
    }
    page
}

fn configuration(status: &Status) -> String {
    let overlay = if status.overlay { ", with changes made at run time" } else { "" };
    format!("{}{overlay}", status.config_file)
}

fn interfaces(interfaces: &[Interface], look: Look) -> String {
    let one = |interface: &Interface| {
        let Interface { name, mode, program_id } = interface;
        if look.wide {
            format!("{name} ({mode}, program {program_id})")
        } else {
            format!("{name} ({mode})")
        }
    };
    if interfaces.is_empty() {
        return "none".into();
    }
    interfaces.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn flows(status: &Status) -> String {
    let used = share(status.flows, status.max_flows);
    let moving = status.flow_move.map_or_else(String::new, |moving| {
        let FlowMove { cells_left, cells } = moving;
        let moved = share(cells.saturating_sub(cells_left), cells);
        format!(", moving to a table of this size: {moved} done")
    });
    format!("{} of {} ({used}){moving}", status.flows, status.max_flows)
}

/// A line per check, then the remedies, then the sum.
pub(crate) fn doctor(checks: &[Check], look: Look) -> String {
    let columns = [
        Column::new("RESULT", |check: &Check| {
            if check.ok { Word::new("ok", Tone::Good) } else { Word::new("problem", Tone::Bad) }
        }),
        Column::new("CHECK", |check: &Check| Word::from(&check.name)),
        Column::new("FOUND", |check: &Check| Word::from(&check.detail)),
    ];
    let wrong: Vec<_> = checks.iter().filter(|check| !check.ok).collect();
    let remedy = |check: &&Check| {
        check.remedy.as_ref().map(|remedy| format!("{}\n  remedy: {remedy}\n", check.name))
    };
    let mut parts = vec![table(&columns, checks, look)];
    parts.extend(wrong.iter().filter_map(remedy));
    parts.push(format!("{} in {}\n", count(wrong.len(), "problem"), count(checks.len(), "check")));
    parts.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lb1() -> Status {
        Status {
            version: "0.1.0".into(),
            node: "lb1".into(),
            uptime_seconds: 7384,
            config_file: "/etc/lb/lb.toml".into(),
            config_problem: None,
            overlay: true,
            interfaces: vec![
                Interface { name: "eth0".into(), mode: "native".into(), program_id: 42 },
                Interface { name: "eth1".into(), mode: "generic".into(), program_id: 43 },
            ],
            services: 2,
            backends: 5,
            backends_serving: 4,
            flows: 2048,
            max_flows: 1_048_576,
            flow_move: None,
            warnings: vec!["backend shop/web2 is down".into()],
        }
    }

    #[test]
    fn a_move_to_another_flow_table_is_shown_with_how_far_it_has_come() {
        let flow_move = Some(FlowMove { cells_left: 250, cells: 1_000 });
        let page = page(&Status { flow_move, ..lb1() }, Look::default());
        assert!(page.contains("(0.1 %), moving to a table of this size: 75.0 % done\n"), "{page}");
    }

    #[test]
    fn status_is_a_page_with_its_warnings_last() {
        assert_eq!(
            page(&lb1(), Look::default()),
            "\
node           lb1
agent          0.1.0, up for 2h 3m
configuration  /etc/lb/lb.toml, with changes made at run time
interfaces     eth0 (native), eth1 (generic)
services       2
backends       4 of 5 take new flows
flows          2048 of 1048576 (0.1 %)

warning: backend shop/web2 is down
"
        );
    }

    #[test]
    fn a_refused_file_is_shown_with_its_problems() {
        let problem = "error: unknown key `liste`\n --> /etc/lb/lb.toml:3:1";
        let status = Status {
            config_problem: Some(problem.into()),
            warnings: vec![],
            interfaces: vec![],
            ..lb1()
        };
        let page = page(&status, Look::default());
        assert!(page.contains("interfaces     none\n"));
        assert!(page.ends_with(
            "\
(0.1 %)

The configuration file was refused; the old configuration is running:
  error: unknown key `liste`
   --> /etc/lb/lb.toml:3:1
"
        ));
    }

    #[test]
    fn doctor_tells_the_remedy_of_each_problem() {
        let check = |name: &str, ok, remedy: Option<&str>| Check {
            name: name.into(),
            ok,
            detail: "seen".into(),
            remedy: remedy.map(Into::into),
        };
        let checks = [check("mode", true, None), check("ip_forward", false, Some("sysctl it"))];
        assert_eq!(
            doctor(&checks, Look::default()),
            "\
RESULT   CHECK       FOUND
ok       mode        seen
problem  ip_forward  seen

ip_forward
  remedy: sysctl it

1 problem in 2 checks
"
        );
    }
}
