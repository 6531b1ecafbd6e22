//! Whatever was changed over whatever file: what is written means what runs, and keeps what nobody changed.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use lb_common::api::{BackendAction, BackendChange, BackendState};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::super::Merged;
use super::super::change::{Change, Now, change};
use super::super::{Added, ServiceOverlay};
use super::*;
use crate::model::agent::Refusal;
use crate::model::cast::{VIP, VIP6, v4, v6};
use crate::model::config::{Backend, Config};
use crate::model::firewall::Sets;

mod firewall;

const REST: &str = "
# --- mail --- web is not here
[[service]]
name = \"mail\" # mail
listen = \"203.0.113.10:25\"
  [[service.backend]] # mail
  name = 'mx'
  address = '192.0.2.200:25' # mail
# end of file
";

/// How the backends are written.
#[derive(Clone, Copy, Debug)]
enum Layout {
    Tables,
    List,
    Line,
}

/// A file with backends `web1` and so on, each with a style of its own, and how its lines end.
#[derive(Clone, Debug)]
struct Page {
    layout: Layout,
    styles: Vec<u8>,
    is_crlf: bool,
    ends_early: bool,
}

impl Page {
    fn text(&self) -> String {
        let numbered = (1..).zip(&self.styles);
        let backends: Vec<String> = match self.layout {
            Layout::Tables => numbered.map(|(number, style)| table(number, *style)).collect(),
            Layout::List => numbered
                .map(|(number, style)| {
                    let pairs = pairs(number, *style).join(", ");
                    format!("\n  # web{number} below\n  {{ {pairs} }}, # web{number}")
                })
                .collect(),
            Layout::Line => numbered
                .map(|(number, style)| format!("{{{}}}", pairs(number, *style).join(", ")))
                .collect(),
        };
        let backends = match self.layout {
            Layout::Tables => backends.concat(),
            Layout::List => format!("backend = [ # all{}\n] # list\n", backends.concat()),
            Layout::Line => format!("backend = [ {} ] # list\n", backends.join(" , ")),
        };
        let text = format!(
            "version = 1 # one\n[datapath]\ninterfaces = ['eth0']\n\n[[service]] # shop\nname = 'shop'\n\
             listen = ['{VIP}', '{VIP6}']\n{backends}{REST}"
        );
        let text = if self.ends_early { text.trim_end().to_owned() } else { text };
        if self.is_crlf { text.replace('\n', "\r\n") } else { text }
    }
}

fn pairs(number: u8, style: u8) -> Vec<String> {
    let addresses = format!("['{}', '{}']", v4(number), v6(number));
    let mut pairs = vec![format!("name = 'web{number}'"), format!("address = {addresses}")];
    if style & 1 != 0 {
        pairs.push(format!("\"weight\" = {style}"));
    }
    if style & 2 != 0 {
        pairs.insert(0, "state = 'drain'".to_owned());
    }
    if style & 4 != 0 {
        pairs.push("backup =true".to_owned());
    }
    pairs
}

fn table(number: u8, style: u8) -> String {
    let gap = if style & 8 == 0 { "" } else { "\n" };
    let pairs = pairs(number, style);
    let lines = pairs.join(&format!(" # web{number}\n\t"));
    format!(
        "{gap}# group above\n\n# web{number} below\n  [[service.backend]] # web{number}\n\t{lines} # web{number}\n"
    )
}

fn page() -> impl Strategy<Value = Page> {
    let layout = select(&[Layout::Tables, Layout::List, Layout::Line]);
    (layout, vec(any::<u8>(), 0..5), any::<bool>(), any::<bool>()).prop_map(
        |(layout, styles, is_crlf, ends_early)| Page { layout, styles, is_crlf, ends_early },
    )
}

/// A change that may well be refused.
fn asked() -> impl Strategy<Value = BackendChange> {
    let addresses = (1..9_u8).prop_flat_map(|number| {
        select(vec![vec![v4(number), v6(number)], vec![v6(number), v4(number)], vec![v6(number)]])
    });
    let state = select(&[BackendState::Ready, BackendState::Drain, BackendState::Maint]);
    let add = (addresses.clone(), prop::option::of(0..300_u32), any::<bool>())
        .prop_map(|(address, weight, backup)| BackendAction::Add { address, weight, backup });
    let set = (
        prop::option::of(addresses),
        prop::option::of(0..300_u32),
        prop::option::of(any::<bool>()),
        prop::option::of(state),
    )
        .prop_map(|(address, weight, backup, state)| BackendAction::Set {
            address,
            weight,
            backup,
            state,
        });
    let action = prop_oneof![2 => add, 3 => set, 1 => Just(BackendAction::Delete)];
    (1..9_u8, action).prop_map(|(number, action)| BackendChange {
        service: "shop".to_owned(),
        backend: format!("web{number}"),
        action,
    })
}

fn read(text: &str) -> Checked {
    parse("lb.toml", text, "host1").unwrap_or_else(|problems| panic!("{problems}\n{text}"))
}

fn written(text: &str, overlay: &Overlay) -> Result<Written, Unwritable> {
    let checked = &read(text);
    write(File { name: "lb.toml", text, checked, host_name: "host1" }, overlay)
}

fn changed(file: &Checked, before: &Merged, asked: &BackendChange) -> Result<Merged, Refusal> {
    let (file, Merged { config: running, overlay, .. }) = (&file.config, before);
    change(Now { file, overlay, running, sets: &Sets::new() }, &Change::Backend(asked.clone()))
}

fn overlay_of(file: &Checked, changes: &[BackendChange]) -> Overlay {
    let mut merged = merge(&file.config, &Overlay::default());
    for asked in changes {
        if let Ok(changed) = changed(file, &merged, asked) {
            merged = changed;
        }
    }
    merged.overlay
}

/// Lines that are about no backend that was changed, without commas, which come and go with neighbours.
fn untouched(text: &str, overlay: &Overlay) -> Vec<String> {
    let changes = overlay.services.get("shop").cloned().unwrap_or_default();
    let names: BTreeSet<_> = changes.set.keys().chain(&changes.deleted).collect();
    let lines = text.lines().filter(|line| {
        let is_theirs = names.iter().any(|name| line.contains(name.as_str()));
        !is_theirs && !line.trim().is_empty()
    });
    lines.map(|line| line.replace(',', "")).collect()
}

fn sorted(config: &Config) -> Vec<Backend> {
    let mut backends = config.services[0].backends.clone();
    backends.sort_by(|one, other| one.name.cmp(&other.name));
    backends
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn what_is_written_means_what_runs(page in page(), changes in vec(asked(), 0..8)) {
        let text = page.text();
        let file = read(&text);
        let overlay = overlay_of(&file, &changes);
        let done = written(&text, &overlay).unwrap();
        prop_assert_eq!(&done.checked.config, &merge(&file.config, &overlay).config);
        prop_assert!(done.dropped.is_empty());
        if overlay == Overlay::default() {
            prop_assert_eq!(&done.text, &text);
        }
        // As after a crash before the overlay was emptied.
        let again = merge(&done.checked.config, &overlay).config;
        prop_assert_eq!(sorted(&again), sorted(&done.checked.config));
    }

    #[test]
    fn lines_that_nobody_changed_stay(page in page(), changes in vec(asked(), 0..8)) {
        let text = page.text();
        let overlay = overlay_of(&read(&text), &changes);
        let done = written(&text, &overlay).unwrap().text;
        let mut lines = done.lines().map(|line| line.replace(',', ""));
        let is_line = matches!(page.layout, Layout::Line);
        for wanted in untouched(&text, &overlay) {
            let stays = is_line && wanted.starts_with("backend") || lines.any(|line| line == wanted);
            prop_assert!(stays, "{wanted:?} is not in\n{done}\nwhich was\n{text}");
        }
        let n_ends = |end: &str| done.matches(end).count();
        prop_assert!(!page.is_crlf || n_ends("\n") == n_ends("\r\n"), "{done:?}");
    }

    #[test]
    fn comments_stay_but_for_those_of_deleted_backends(
        page in page(),
        changes in vec(asked(), 0..8),
    ) {
        let text = page.text();
        let overlay = overlay_of(&read(&text), &changes);
        let done = written(&text, &overlay).unwrap().text;
        let deleted = overlay.services.get("shop").map(|changes| changes.deleted.clone());
        let deleted = deleted.unwrap_or_default();
        let comments = |text: &str| -> Vec<String> {
            let all = text.lines().filter_map(|line| Some(line.split_once('#')?.1.to_owned()));
            all.filter(|comment| deleted.iter().all(|name| !comment.contains(name))).collect()
        };
        prop_assert_eq!(comments(&done), comments(&text), "{}\n{}", done, text);
    }
}

fn page_of(n_backends: usize) -> String {
    let styles = vec![0; n_backends];
    Page { layout: Layout::Tables, styles, is_crlf: false, ends_early: false }.text()
}

fn weight(number: u8, weight: u32) -> BackendChange {
    let (address, backup, state) = (None, None, None);
    BackendChange {
        service: "shop".to_owned(),
        backend: format!("web{number}"),
        action: BackendAction::Set { address, weight: Some(weight), backup, state },
    }
}

#[test]
fn a_file_that_was_edited_meanwhile_keeps_its_edits_and_names_what_does_not_fit() {
    let overlay = overlay_of(&read(&page_of(3)), &[weight(1, 7), weight(3, 8)]);
    let edited = page_of(2).replace("'mx'", "'mx2' # new");
    let done = written(&edited, &overlay).unwrap();
    let gone = "service shop: backend web3 loses its changes: it is not in the file";
    assert_eq!(done.dropped, [gone]);
    assert!(done.text.contains("weight = 7\n") && done.text.contains("'mx2' # new"));
    assert!(!done.text.contains("weight = 8"));
}

#[test]
fn a_file_that_would_be_too_long_is_refused() {
    let text = page_of(1);
    let overlay = overlay_of(&read(&text), &[weight(1, 7)]);
    let comment = "#".repeat(config_file::LONGEST - text.len());
    let error = written(&(text + &comment), &overlay).unwrap_err();
    assert_eq!(error.to_string(), "the file would be longer than 16 MiB");
}

#[test]
fn what_breaks_a_rule_of_the_file_is_refused_with_its_place() {
    // Each of many listeners counts its backends: that they fit is known of the file as a whole alone.
    let listen: Vec<_> = (1_001..=2_400).map(|port| format!("'203.0.113.10:{port}'")).collect();
    let text = page_of(2).replace(&format!("'{VIP}'"), &listen.join(", "));
    let added = (1..=200_u8).map(|number| Added {
        name: format!("more{number}"),
        address: vec![(Ipv4Addr::new(192, 0, 3, number), 80).into()],
        weight: 1,
        backup: false,
        state: BackendState::Ready,
    });
    let changes = ServiceOverlay { added: added.collect(), ..ServiceOverlay::default() };
    let overlay = Overlay { services: [("shop".to_owned(), changes)].into(), ..Overlay::default() };
    let error = written(&text, &overlay).unwrap_err().to_string();
    assert!(error.starts_with("the file would be wrong:\nerror: "), "{error}");
    assert!(error.contains("--> lb.toml:"), "{error}");
}
