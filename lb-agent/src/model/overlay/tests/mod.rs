//! Changes at run time, over a file that changes too.

use lb_common::api::{BackendAction, BackendChange};

use super::change::{Change, Now};
use super::*;
use crate::model::agent::Refusal;
use crate::model::cast::{config, shop, v4, v6, web};
use crate::model::firewall::Sets;
use ipnet::IpNet;

mod firewall;

fn asked(backend: &str, action: BackendAction) -> BackendChange {
    BackendChange { service: "shop".to_owned(), backend: backend.to_owned(), action }
}

fn set(backend: &str, values: Values) -> BackendChange {
    let Values { address, weight, backup, state } = values;
    asked(backend, BackendAction::Set { address, weight, backup, state })
}

fn weight(backend: &str, weight: u32) -> BackendChange {
    set(backend, Values { weight: Some(weight), ..Values::default() })
}

fn add(backend: &str, address: &[SocketAddr]) -> BackendChange {
    let address = address.to_vec();
    asked(backend, BackendAction::Add { address, weight: None, backup: false })
}

fn delete(backend: &str) -> BackendChange {
    asked(backend, BackendAction::Delete)
}

/// Makes changes over a file, one after the other.
fn try_changes(file: &Config, changes: &[BackendChange]) -> Result<Merged, Refusal> {
    let mut merged = merge(file, &Overlay::default());
    for asked in changes {
        merged = made(file, &merged, &Change::Backend(asked.clone()))?;
    }
    Ok(merged)
}

fn made(file: &Config, before: &Merged, asked: &Change) -> Result<Merged, Refusal> {
    let Merged { config: running, overlay, .. } = before;
    change::change(Now { file, overlay, running, sets: &Sets::new() }, asked)
}

fn names(merged: &Merged) -> Vec<&str> {
    merged.config.services[0].backends.iter().map(|backend| backend.name.as_str()).collect()
}

fn refused(change: BackendChange) -> String {
    match try_changes(&config(vec![shop(3)]), &[change]).unwrap_err() {
        Refusal::Invalid(reason) => reason,
        other @ (Refusal::NotFound(_) | Refusal::Conflict(_)) => {
            panic!("{other:?} is not about a value")
        }
    }
}

#[test]
fn added_backends_follow_those_of_the_file() {
    let file = config(vec![shop(2)]);
    let merged = try_changes(&file, &[add("web9", &[v4(9)]), add("web4", &[v4(4)])]).unwrap();
    assert_eq!(names(&merged), ["web1", "web2", "web9", "web4"]);
    assert_eq!(merged.config.services[0].backends[2].weight, 100);
}

#[test]
fn changes_lie_over_each_other() {
    let file = config(vec![shop(2)]);
    let drain = Values { state: Some(BackendState::Drain), ..Values::default() };
    let merged = try_changes(&file, &[weight("web1", 7), set("web1", drain)]).unwrap();
    let wanted = Backend { weight: 7, state: BackendState::Drain, ..web(1) };
    assert_eq!(merged.config.services[0].backends[0], wanted);
}

#[test]
fn a_change_back_to_the_file_leaves_no_overlay() {
    let file = config(vec![shop(2)]);
    let merged = try_changes(&file, &[weight("web1", 7), weight("web1", 100)]).unwrap();
    assert_eq!((merged.overlay, merged.config), (Overlay::default(), file.clone()));
    let merged = try_changes(&file, &[add("web4", &[v4(4)]), delete("web4")]).unwrap();
    assert_eq!((merged.overlay, merged.config), (Overlay::default(), file));
}

#[test]
fn a_deleted_backend_can_be_added_with_another_address() {
    let file = config(vec![shop(2)]);
    let merged = try_changes(&file, &[delete("web1"), add("web1", &[v4(11)])]).unwrap();
    assert_eq!(names(&merged), ["web2", "web1"]);
    assert_eq!(merged.config.services[0].backends[1].address, [v4(11)]);
}

#[test]
fn swapped_addresses_survive_a_reload() {
    let file = config(vec![shop(2)]);
    let at = |number| Values { address: Some(vec![v4(number), v6(number)]), ..Values::default() };
    let changes = [set("web1", at(3)), set("web2", at(1)), set("web1", at(2))];
    let swapped = try_changes(&file, &changes).unwrap();
    let merged = merge(&file, &swapped.overlay);
    assert_eq!((&merged.config, merged.dropped.len()), (&swapped.config, 0));
    assert_eq!(merged.config.services[0].backends[0].address, web(2).address);
}

#[test]
fn of_changes_that_do_not_fit_the_file_any_more_the_others_stay() {
    let file = config(vec![shop(2)]);
    let moved = Values { address: Some(vec![v4(3), v6(3)]), ..Values::default() };
    let overlay = try_changes(&file, &[weight("web1", 7), set("web2", moved)]).unwrap().overlay;
    let merged = merge(&config(vec![shop(3)]), &overlay);
    let reason = "is not changed: 192.0.2.3:8080 is the address of backend web3";
    assert_eq!(merged.dropped, [format!("service shop: backend web2 {reason}")]);
    assert_eq!(merged.config.services[0].backends[0].weight, 7);
}

#[test]
fn an_added_backend_can_be_changed() {
    let file = config(vec![shop(2)]);
    let merged = try_changes(&file, &[add("web4", &[v4(4)]), weight("web4", 3)]).unwrap();
    assert_eq!(merged.config.services[0].backends[2].weight, 3);
    assert!(merged.overlay.services["shop"].set.is_empty());
}

#[test]
fn the_overlay_survives_being_kept_as_json() {
    let file = config(vec![shop(3)]);
    let changes = [weight("web1", 7), delete("web2"), add("web4", &[v4(4), v6(4)])];
    let overlay = try_changes(&file, &changes).unwrap().overlay;
    let json = serde_json::to_string(&overlay).unwrap();
    assert_eq!(serde_json::from_str::<Overlay>(&json).unwrap(), overlay);
}

#[test]
fn what_has_left_the_file_is_dropped_by_name() {
    let changes = [weight("web3", 7), delete("web2"), weight("web1", 9)];
    let overlay = try_changes(&config(vec![shop(3)]), &changes).unwrap().overlay;
    let merged = merge(&config(vec![shop(1)]), &overlay);
    assert_eq!(
        merged.dropped,
        [
            "service shop: backend web2 is not deleted: it is not in the file",
            "service shop: backend web3 loses its changes: it is not in the file",
        ]
    );
    assert_eq!(merged.config.services[0].backends[0].weight, 9);
    let merged = merge(&config(vec![]), &overlay);
    assert_eq!(merged.dropped, ["service shop loses its changes: it is not in the file"]);
    assert_eq!(merged.overlay, Overlay::default());
}

#[test]
fn an_addition_that_the_file_has_overtaken_is_dropped() {
    let overlay = try_changes(&config(vec![shop(2)]), &[add("web3", &[v4(30)])]).unwrap().overlay;
    let merged = merge(&config(vec![shop(3)]), &overlay);
    assert_eq!(merged.config, config(vec![shop(3)]));
    assert_eq!(merged.dropped, ["service shop: backend web3 is not added: it is in the file"]);
}

#[test]
fn values_are_held_to_the_rules_of_the_file() {
    let address = |address: &str| add("web4", &[address.parse().unwrap()]);
    for (change, wanted) in [
        (weight("web1", 65_536), "the weight 65536 is above 65535"),
        (add("web4", &[]), "no address is given"),
        (add("web4", &[v4(4), v4(5)]), "more than one IPv4 address is given"),
        (add("web4", &[v4(1)]), "192.0.2.1:8080 is the address of backend web1"),
        (add("a/b", &[v4(4)]), "the name \"a/b\" contains '/' or a control character"),
        (address("0.0.0.0:80"), "0.0.0.0 is the unspecified address"),
        (address("192.0.2.9:0"), "the port of 192.0.2.9:0 is 0"),
        (address("203.0.113.10:81"), "203.0.113.10 is a VIP"),
        (set("web1", Values::default()), "no change of backend web1 is given"),
    ] {
        let reason = refused(change);
        assert!(reason.ends_with(wanted), "{reason:?} does not say {wanted:?}");
    }
}

#[test]
fn a_family_that_is_listened_on_keeps_a_backend() {
    let file = config(vec![shop(1)]);
    let only_v4 = Values { address: Some(vec![v4(1)]), ..Values::default() };
    let refusal = try_changes(&file, &[set("web1", only_v4)]).unwrap_err();
    let wanted =
        "service shop is not changed: it listens on IPv6, and no backend has an IPv6 address";
    assert_eq!(refusal, Refusal::Invalid(wanted.to_owned()));
    assert!(names(&try_changes(&file, &[delete("web1")]).unwrap()).is_empty());
}

#[test]
fn what_does_not_exist_is_answered_with_the_nearest_name() {
    let file = config(vec![shop(3)]);
    let refusal = try_changes(&file, &[weight("wbe3", 1)]).unwrap_err();
    let wanted = "service shop: no backend is named wbe3; the nearest name is web3";
    assert_eq!(refusal, Refusal::NotFound(wanted.to_owned()));
    let refusal = try_changes(&file, &[weight("mail", 1)]).unwrap_err();
    let wanted = "service shop: no backend is named mail";
    assert_eq!(refusal, Refusal::NotFound(wanted.to_owned()));
    let shpo = BackendChange { service: "shpo".to_owned(), ..delete("web1") };
    let wanted = "no service is named shpo; the nearest name is shop";
    assert_eq!(try_changes(&file, &[shpo]).unwrap_err(), Refusal::NotFound(wanted.to_owned()));
}

#[test]
fn a_name_that_exists_is_not_added_again() {
    let refusal = try_changes(&config(vec![shop(3)]), &[add("web1", &[v4(9)])]).unwrap_err();
    let wanted = "service shop already has a backend web1";
    assert_eq!(refusal, Refusal::Conflict(wanted.to_owned()));
}
