//! Open connections go on at the other director when the VIP moves.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use lb_tests::agent::{Agent, service};
use lb_tests::decap::Backend;
use lb_tests::http_server::{checksum, pattern};
use lb_tests::load::TIMEOUT;
use lb_tests::udp_echo::{UdpEcho, ask, connect};
use lb_tests::web::{PORT, Web};
use lb_tests::world::vips;
use socket2::{Domain, Socket, Type};

use super::directors::{KEY, Part, Worlds, both_vips, wait_for_flows, wait_until_in_step};

/// Content of a download.
const LENGTH: usize = 4_000_000;
/// What a client takes that does not read.
const BUFFER: usize = 32_768;
/// What is read between two moves.
const SOME: usize = 400_000;

/// Both agents, in step.
pub fn start<'w>(worlds: &'w Worlds, datapath: &str, services: &str) -> [Agent<'w>; 2] {
    let part = Part { datapath, services, key: KEY };
    let agents = [0, 1].map(|index| worlds.start(index, &part).unwrap());
    for agent in &agents {
        agent.wait_until_all_up().unwrap();
    }
    let [first, second] = &agents;
    wait_until_in_step([first, second]).unwrap();
    agents
}

/// Connections are opened, answered by the same backends after the VIP has moved, and again after it is back.
fn move_with_open_connections(worlds: &Worlds, datapath: &str, services: &str) {
    let [first, second] = start(worlds, datapath, services);
    let vips = both_vips();
    let mut open: Vec<_> =
        vips.iter().cycle().take(12).map(|vip| worlds.connect(*vip).unwrap()).collect();
    let before: Vec<_> = open.iter_mut().map(|open| open.get("/").unwrap().backend).collect();
    wait_for_flows(&second, 12).unwrap();
    for to in [1, 0] {
        wait_until_in_step([&first, &second]).unwrap();
        worlds.move_to(to).unwrap();
        for (open, backend) in open.iter_mut().zip(&before) {
            let answer = open.get("/bytes/200000").unwrap();
            assert_eq!(&answer.backend, backend);
            assert_eq!(checksum(&answer.body), checksum(&pattern(200_000)));
        }
    }
}

#[test]
fn open_connections_go_on_at_the_other_director_and_back() {
    let worlds = Worlds::new(3).unwrap();
    for scheduler in ["rr", "wlc", "maglev"] {
        move_with_open_connections(&worlds, "", &worlds.shop("nat", scheduler));
    }
}

#[test]
fn connections_with_full_nat_keep_their_source() {
    let worlds = Worlds::new(3).unwrap();
    let sources = "full_nat = { sources = [\"192.0.2.1\", \"2001:db8:2::1\"] }";
    move_with_open_connections(&worlds, sources, &worlds.shop("full-nat", "rr"));
}

#[test]
fn connections_whose_answers_go_past_the_director_stay_at_their_backends() {
    let mut worlds = Worlds::new(3).unwrap();
    worlds.give_backends_the_vips().unwrap();
    move_with_open_connections(&worlds, "", &worlds.shop("dsr", "rr"));
}

#[test]
fn connections_through_tunnels_stay_at_their_backends() {
    let mut worlds = Worlds::new(2).unwrap();
    worlds.webs.clear();
    let (world, binaries) = (&worlds.each[0], &worlds.binaries);
    let mut from = Vec::new();
    for last in 1..=3 {
        from.extend([format!("192.0.2.{last}"), format!("2001:db8:2::{last}")]);
    }
    let from: Vec<_> = from.iter().flat_map(|source| ["--from", source]).collect();
    let mut backends = Vec::new();
    for host in &world.backends {
        host.answer_directly().unwrap();
        let decap = Backend::start_on(world, host, binaries, &from).unwrap();
        let listen = [host.at(PORT), vips(PORT)].concat();
        backends.push((decap, Web::start_on(world, host, binaries, &listen).unwrap()));
    }
    let sources = "tunnel = { sources = [\"192.0.2.1\", \"2001:db8:2::1\"] }";
    move_with_open_connections(&worlds, sources, &worlds.shop("ipip", "rr"));
}

/// A download that is read on demand.
struct Download {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Download {
    fn begin(worlds: &Worlds, vip: SocketAddr) -> Self {
        let open = || {
            let socket = Socket::new(Domain::for_address(vip), Type::STREAM, None).unwrap();
            socket.set_recv_buffer_size(BUFFER).unwrap();
            socket.connect_timeout(&vip.into(), TIMEOUT).unwrap();
            let mut stream = TcpStream::from(socket);
            // A busy machine may well take a while.
            stream.set_read_timeout(Some(4 * TIMEOUT)).unwrap();
            let request =
                format!("GET /bytes/{LENGTH} HTTP/1.1\r\nHost: vip\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).unwrap();
            stream
        };
        let stream = worlds.each[0].client.namespace.enter(open).unwrap();
        Self { stream, read: Vec::new() }
    }

    fn read_some(&mut self) {
        let mut part = vec![0; SOME];
        self.stream.read_exact(&mut part).unwrap();
        self.read.extend(part);
    }

    /// The checksum of the content.
    fn end(mut self) -> u64 {
        self.stream.read_to_end(&mut self.read).unwrap();
        let start = self.read.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
        checksum(&self.read[start..])
    }
}

#[test]
fn downloads_go_on_while_the_vip_moves_to_and_fro() {
    let worlds = Worlds::new(2).unwrap();
    // A server that is busy with downloads may not answer probes in time, and its connections would be reset.
    let services = worlds.shop("nat", "rr").replace("health_check = \"web\"", "");
    let [first, second] = start(&worlds, "", &services);
    let mut downloads: Vec<_> =
        both_vips().iter().cycle().take(6).map(|vip| Download::begin(&worlds, *vip)).collect();
    for to in [1, 0, 1] {
        downloads.iter_mut().for_each(Download::read_some);
        wait_until_in_step([&first, &second]).unwrap();
        worlds.move_to(to).unwrap();
    }
    let wanted = checksum(&pattern(LENGTH));
    for download in downloads {
        assert_eq!(download.end(), wanted);
    }
}

#[test]
fn flows_of_udp_stay_at_their_backends() {
    let worlds = Worlds::new(3).unwrap();
    let world = &worlds.each[0];
    let _echoes: Vec<_> =
        world.backends.iter().map(|host| UdpEcho::start(host, 53).unwrap()).collect();
    let listed = service("dns", &vips(53), "protocol = \"udp\"\nscheduler = \"rr\"", world);
    let tables = listed.replace(":80\"", ":53\"");
    let [_first, second] = start(&worlds, "", &tables);
    let sockets =
        || vips(53).iter().cycle().take(12).map(|vip| connect(*vip, TIMEOUT).unwrap()).collect();
    let sockets: Vec<_> = world.client.namespace.enter(sockets).unwrap();
    let names = || sockets.iter().map(|socket| ask(socket, b"who").unwrap().0).collect::<Vec<_>>();
    let before = names();
    wait_for_flows(&second, 12).unwrap();
    worlds.move_to(1).unwrap();
    assert_eq!(names(), before);
}
