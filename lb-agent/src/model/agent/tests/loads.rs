//! Another configuration takes the place of the running one, is only tried, or is refused.

use super::*;

#[test]
fn a_change_that_is_only_tried_says_what_it_would_do() {
    let mut world = World::begin(config(vec![shop(2)]));
    world.run(seconds(10));
    let before = world.kernel.clone();
    let mut smaller = config(vec![shop(1)]);
    smaller.services[0].on_backend_down = crate::model::config::OnBackendDown::Keep;
    let (config, request) = (Box::new(smaller), 1);
    let load = Event::Load {
        config,
        read: Stock::new(),
        overlay: Laid::Keep,
        terms: Terms { dry_run: true, session: None },
        request,
    };
    let applied = world.ask(load).unwrap();
    assert!(applied.dry_run);
    assert!(applied.changes.iter().any(|line| line.contains("web2")), "{:?}", applied.changes);
    assert_eq!(world.kernel, before);
    assert_eq!(world.agent.config(), &crate::model::cast::config(vec![shop(2)]));
}

#[test]
fn keys_that_need_a_restart_refuse_a_load_and_leave_no_trace() {
    let mut world = World::begin(config(vec![shop(2)]));
    let mut moved = config(vec![shop(1)]);
    moved.datapath.interfaces = vec!["eth9".to_owned()];
    let before = world.kernel.clone();
    let Err(Refusal::Invalid(reason)) = world.load(moved) else { panic!("not refused") };
    assert_eq!(
        reason,
        "datapath.interfaces cannot change at run time: write it into the file and restart \
         lb-agent"
    );
    assert_eq!((&world.kernel, world.rotation().len()), (&before, 2));
}

#[test]
fn another_xdp_mode_is_refused_with_the_way_there() {
    let mut world = World::begin(config(vec![shop(2)]));
    let mut generic = config(vec![shop(2)]);
    generic.datapath.xdp_mode = crate::model::config::XdpMode::Generic;
    let Err(Refusal::Invalid(reason)) = world.load(generic) else { panic!("not refused") };
    assert_eq!(
        reason,
        "datapath.xdp_mode cannot change at run time: stop lb-agent, run `lb-agent detach` (open flows \
         end), write it into the file and start lb-agent"
    );
}

#[test]
fn a_refused_load_that_nobody_waits_for_is_noticed() {
    let mut world = World::begin(config(vec![shop(2)]));
    let mut moved = config(vec![shop(1)]);
    moved.datapath.xdp_mode = XdpMode::Generic;
    let config = Box::new(moved);
    let (read, overlay, terms, request) = (Stock::new(), Laid::Keep, Terms::default(), 1);
    let load = Event::Load { config, read, overlay, terms, request };
    let refusal = world.ask(load).unwrap_err().to_string();
    assert!(refusal.starts_with("datapath.xdp_mode"), "{refusal}");
}

#[test]
fn changes_at_run_time_survive_a_reload_until_they_are_discarded() {
    let mut world = World::begin(config(vec![shop(2)]));
    world.run(seconds(10));
    world.add("web3", v4(3)).unwrap();
    world.run(seconds(5));
    world.load(config(vec![shop(2)])).unwrap();
    assert_eq!(world.rotation(), ["web1", "web2", "web3"]);
    assert!(world.saved.services.contains_key("shop"));
    let (config, request) = (Box::new(config(vec![shop(2)])), 1);
    let discard = Event::Load {
        config,
        read: Stock::new(),
        overlay: Laid::Discard,
        terms: Terms::default(),
        request,
    };
    world.ask(discard).unwrap();
    assert_eq!(world.rotation(), ["web1", "web2"]);
    assert_eq!(world.saved, Overlay::default());
}
