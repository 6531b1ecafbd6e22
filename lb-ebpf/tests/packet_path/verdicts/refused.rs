//! What the firewall refuses.

use lb_common::layout::firewall::{Firewall, PAGE, SERVICE_PAGES, service};
use lb_common::verdict::Verdict;
use lb_ebpf::host::HostFirewall;

use super::{assert_verdict, front, ping};
use crate::cast::firewall::{FIRST_RULE, NO_RULE, dropping, firewall};
use crate::cast::packet::{packet, tcp};
use crate::cast::{BACK, FAMILIES, PROTOCOLS, TCP, UDP, World, answer, opening};

#[test]
fn firewall_drop_and_firewall_policy() {
    for cast in FAMILIES {
        let mut world = World::new(cast, TCP);
        let policy = firewall(Firewall::POLICY_DROP, &NO_RULE, 0);
        for (rules, verdict) in
            [(dropping(), Verdict::FirewallDrop), (policy, Verdict::FirewallPolicy)]
        {
            world.tables.firewall = rules;
            front(&world, &opening(TCP, cast.client, cast.vip), verdict);
            front(&world, &tcp(cast.client, cast.other_vip).syn(), verdict);
            front(&world, &ping(&cast, cast.vip.ip()), verdict);
            assert_verdict(&world, &answer(TCP, cast.backends[0], cast.client), BACK, verdict);
        }
        world.tables.firewall = firewall(Firewall::POLICY_DROP, &FIRST_RULE, 0);
        front(&world, &opening(TCP, cast.client, cast.vip), Verdict::ToBackend);
    }
}

#[test]
fn service_not_allowed() {
    for cast in FAMILIES {
        let mut world = World::new(cast, UDP);
        let mut rules = firewall(Firewall::BY_SERVICE, &NO_RULE, 0);
        let pages = usize::try_from(SERVICE_PAGES).unwrap();
        rules.services = vec![[service(0, 0); PAGE]; pages];
        rules.services[0][usize::try_from(world.listener).unwrap()] = service(0, 1);
        world.tables.firewall = rules;
        front(&world, &opening(UDP, cast.client, cast.vip), Verdict::ServiceNotAllowed);
        front(&world, &ping(&cast, cast.vip.ip()), Verdict::VipControl);
        world.tables.firewall.rows = vec![FIRST_RULE];
        front(&world, &opening(UDP, cast.client, cast.vip), Verdict::ToBackend);
    }
}

#[test]
fn what_does_not_name_what_rules_ask_about_is_malformed_or_extension_headers() {
    for cast in FAMILIES {
        let mut world = World::new(cast, TCP);
        world.tables.firewall = firewall(0, &NO_RULE, 0);
        let short =
            packet(cast.client, cast.other_vip, crate::cast::packet::Body::Other(6, vec![0; 12]));
        front(&world, &short, Verdict::Malformed);
        world.tables.firewall = HostFirewall::default();
        front(&world, &short, Verdict::NotOurs);
    }
}

#[test]
fn a_flow_goes_on_until_the_rules_change_and_is_then_forgotten_by_its_next_packet_in_either_direction()
 {
    for cast in FAMILIES {
        for protocol in PROTOCOLS {
            for from_client in [true, false] {
                let mut world = World::new(cast, protocol);
                world.tables.firewall = firewall(0, &NO_RULE, 0);
                world.tables.settings.generation = 1;
                world.begin(cast.client);
                let request = match protocol {
                    TCP => tcp(cast.client, cast.vip).ack(),
                    _ => opening(protocol, cast.client, cast.vip),
                };
                let reply = answer(protocol, cast.backends[0], cast.client);
                world.tables.firewall = dropping();
                front(&world, &request, Verdict::ToBackend);
                assert_verdict(&world, &reply, BACK, Verdict::ToClient);
                world.tables.settings.generation = 2;
                if from_client {
                    front(&world, &request, Verdict::FirewallDrop);
                } else {
                    assert_verdict(&world, &reply, BACK, Verdict::FirewallDrop);
                }
                assert!(world.tables.cells().iter().all(|cell| cell.is_empty()));
            }
        }
    }
}

#[test]
fn a_flow_that_the_new_rules_accept_is_noted_under_them_from_either_direction() {
    for cast in FAMILIES {
        for protocol in PROTOCOLS {
            let mut world = World::new(cast, protocol);
            world.tables.firewall = firewall(0, &NO_RULE, 0);
            world.begin(cast.client);
            let reply = answer(protocol, cast.backends[0], cast.client);
            world.tables.settings.generation = 3;
            assert_verdict(&world, &reply, BACK, Verdict::ToClient);
            let cells = world.tables.cells();
            let generations =
                cells.iter().filter(|cell| !cell.is_empty()).map(|cell| cell.generation());
            assert_eq!(generations.collect::<Vec<_>>(), [3, 3]);
        }
    }
}
