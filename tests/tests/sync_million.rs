//! A million flows are told to a director that joins, cell by cell, and go on there.
#![cfg(feature = "root")]
#![expect(
    clippy::as_conversions,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on panics"
)]
#![expect(unreachable_pub, reason = "modules that several tests share")]

#[expect(dead_code, reason = "other tests use the rest")]
mod director;
mod half;
#[expect(dead_code, reason = "other tests use the rest")]
mod packet_path;

use std::collections::HashMap as Memory;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use aya::maps::Array;
use lb_agent::io::clock;
use lb_agent::io::sync::{self, Directory, Replication};
use lb_agent::model::config::Sync;
use lb_agent::model::sync::Services;
use lb_common::cell::Cell;
use lb_common::layout::{Bucket, Detail, Scheduler, socket};
use lb_common::map;
use lb_tests::clock::{now, wait_until};
use lb_tests::load::TIMEOUT;

use director::{Director, map_of, on_a_director};
use half::{Half, client, open, send};
use packet_path::frames::{ACK, SYN, v4};

const N_FLOWS: u32 = 1_000_000;

/// Among so many it happens that a flow has the tag (25 bits) of another in its bucket, and shares that one's cells; not
/// more often than this.
const SHARING: usize = 8;

fn key_file(director: &Director, number: u8) -> PathBuf {
    let name = director.pins().file_name().unwrap().to_string_lossy().into_owned();
    let path = std::env::temp_dir().join(format!("{name}-{number}.key"));
    std::fs::write(&path, [b'k'; 32]).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// Starts to tell and to listen.
fn replicate(director: &Director, half: &Half, number: u8) -> Replication {
    let at = |number: u8| v4([127, 0, 0, 1 + number], 8848);
    let key_file = key_file(director, number);
    let config = Sync { listen: at(number), peers: vec![at(1 - number)], key_file };
    let opened = sync::open(&config).unwrap();
    std::fs::remove_file(&config.key_file).unwrap();
    let (table, backends) = (half.datapath.flows(), half.backends.clone());
    let directory = Directory { table, backends, services: Services::default() };
    Replication::start(opened, "half".to_owned(), vec!["lo".to_owned()], directory).unwrap()
}

/// What is known of each flow and direction, by client: backend and state.
fn flows(half: &Half) -> Memory<(SocketAddr, bool), (SocketAddr, u64)> {
    let flows: Array<_, Bucket> = map_of(&half.pins, map::FLOWS);
    let details: Array<_, Detail> = map_of(&half.pins, map::DETAILS);
    let mut all = Memory::new();
    for (bucket, words) in (0..).zip(flows.iter()) {
        for (slot, cell) in (0..).zip(words.unwrap().map(Cell)) {
            if cell.is_empty() {
                continue;
            }
            let detail = details.get(&(bucket * 8 + slot), 0).unwrap();
            let client = socket(&detail.client, detail.client_port, detail.family).unwrap();
            let backend = half.backends[&cell.backend()];
            let backend = socket(&backend.address, backend.port, backend.family).unwrap();
            let known = (backend, cell.state_number());
            assert_eq!(all.insert((client, cell.is_reply()), known), None, "{client} twice");
        }
    }
    all
}

#[test]
fn a_million_flows_are_told_to_a_director_that_joins() {
    on_a_director(|director| {
        director::add_wire("other", "other-peer");
        let halves =
            [0, 1].map(|number| open(director, number, N_FLOWS << number, Scheduler::RoundRobin));
        let programs = [0, 1].map(|number: usize| halves[number].program());
        let begun = now();
        for number in 0..N_FLOWS {
            send(&programs[0], client(number), SYN);
        }
        println!("{N_FLOWS} flows begun in {:?}", now() - begun);
        let first = replicate(director, &halves[0], 0);
        let joined = now();
        let second = replicate(director, &halves[1], 1);
        wait_until("the one that joins to be in step", 24 * TIMEOUT, || {
            Ok(second.is_in_step(clock::now()))
        })
        .unwrap_or_else(|error| panic!("{error}: {:?}", second.status(clock::now())));
        println!("in step after {:?}: {:?}", now() - joined, second.status(clock::now()).peers);
        let (told, heard) = (flows(&halves[0]), flows(&halves[1]));
        let n_cells = 2 * N_FLOWS as usize;
        assert!((n_cells - 2 * SHARING..=n_cells).contains(&told.len()), "{} cells", told.len());
        assert!(told == heard, "{} cells of {}", heard.len(), told.len());
        for client in (0..N_FLOWS).step_by(1_000).map(client) {
            let Some((backend, _)) = told.get(&(client, false)) else { continue };
            assert_eq!(send(&programs[1], client, ACK), *backend, "{client}");
        }
        wait_until("both to be in step", TIMEOUT, || Ok(first.is_in_step(clock::now()))).unwrap();
        let status = first.status(clock::now());
        assert_eq!((status.peers[0].conflicts, status.peers[0].without_place), (0, 0));
        for half in halves {
            lb_agent::io::datapath::detach(&half.pins).unwrap();
        }
    });
}
