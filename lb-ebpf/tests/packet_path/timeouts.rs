//! For how long the cells of a flow remember it.

use lb_common::cell::State;
use lb_common::verdict::Verdict;

use crate::cast::packet::tcp;
use crate::cast::{Cast, DIRECTOR_BACK, FAMILIES, SERVERS, TCP, UDP, World, answer, opening};
use crate::flow_states::{from_backend, from_client};

use State::{Closing, Established, HalfClosed, Syn, SynAck, Udp};

/// The longest that a flow may be idle in the tests' tables, in ticks.
const ESTABLISHED_TICKS: u64 = 1_677;
const SYN_TICKS: u64 = 28;
const CLOSING_TICKS: u64 = 7;
const UDP_TICKS: u64 = 28;

/// A world with one flow in this state.
fn in_state(cast: Cast, state: State) -> (World, u64) {
    let world = World::new(cast, if state == Udp { UDP } else { TCP });
    world.begin(cast.client);
    let ticks = match state {
        Syn => SYN_TICKS,
        SynAck => {
            world.back(&from_backend(&cast).syn().ack());
            SYN_TICKS
        }
        Established => {
            world.establish(cast.client);
            ESTABLISHED_TICKS
        }
        HalfClosed => {
            world.establish(cast.client);
            world.front(&from_client(&cast).fin().ack());
            ESTABLISHED_TICKS
        }
        Closing => {
            world.front(&from_client(&cast).rst());
            CLOSING_TICKS
        }
        Udp => UDP_TICKS,
    };
    (world, ticks)
}

#[test]
fn a_flow_is_known_up_to_its_timeout_and_forgotten_after_it() {
    for cast in FAMILIES {
        for state in [Syn, SynAck, Established, HalfClosed, Closing, Udp] {
            for (late, verdict) in [(0, Verdict::ToClient), (1, Verdict::NotOurs)] {
                let (world, ticks) = in_state(cast, state);
                world.tables.set_tick(ticks + late);
                let data = tcp(cast.backends[0], cast.client).ack();
                let reply = match world.protocol {
                    TCP => data.link(SERVERS[0], DIRECTOR_BACK),
                    _ => answer(world.protocol, cast.backends[0], cast.client),
                };
                assert_eq!(world.back(&reply).verdict, verdict, "{state:?} {late}");
            }
            let (world, ticks) = in_state(cast, state);
            world.tables.set_tick(ticks + 1);
            world.front(&opening(world.protocol, cast.client, cast.vip));
            let drawn = world.tables.drawn(world.listener);
            assert_eq!(drawn, 2, "an expired {state:?} flow was found");
        }
    }
}

#[test]
fn time_may_begin_anywhere() {
    for cast in FAMILIES {
        for start in [0xffe, 0xfff, 0x1000, u64::from(u32::MAX), 1 << 40] {
            let world = World::new(cast, TCP);
            world.tables.set_tick(start);
            assert_eq!(world.establish(cast.client), 0);
            world.tables.set_tick(start + ESTABLISHED_TICKS);
            assert_eq!(world.more(cast.client), 0);
            assert_eq!(world.tables.drawn(world.listener), 1);
        }
    }
}

/// One side is heard for ten timeouts; the flow and its way are still known to the other one.
#[test]
fn packets_of_one_side_keep_the_cells_of_both_alive() {
    for cast in FAMILIES {
        for (protocol, ticks) in [(TCP, ESTABLISHED_TICKS), (UDP, UDP_TICKS)] {
            for backend_talks in [false, true] {
                let world = World::new(cast, protocol);
                world.establish(cast.client);
                for step in 1..=10 {
                    world.tables.set_tick(step * ticks);
                    if backend_talks {
                        let mut reply = answer(protocol, cast.backends[0], cast.client);
                        if protocol == TCP {
                            reply = from_backend(&cast).ack();
                        }
                        assert_eq!(world.back(&reply).verdict, Verdict::ToClient);
                    } else {
                        assert_eq!(world.more(cast.client), 0);
                    }
                }
                assert_eq!(world.more(cast.client), 0);
                let reply = answer(protocol, cast.backends[0], cast.client);
                assert_eq!(world.back(&reply).verdict, Verdict::ToClient);
                assert_eq!(world.tables.drawn(world.listener), 1);
            }
        }
    }
}
