//! More connections at once through full NAT than an address has ports, to one backend: two sources carry them.
//!
//! It has a binary of its own, for its threads copy the table of descriptors: what another test closed meanwhile
//! would stay open in them.
#![cfg(feature = "root")]
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that cannot go on panics"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lb_tests::agent::{Agent, Settings, service};
use lb_tests::binaries::Binaries;
use lb_tests::clock::{now, wait_until};
use lb_tests::load::TIMEOUT;
use lb_tests::namespace::Namespace;
use lb_tests::stage::Stage;
use lb_tests::web::PORT;
use lb_tests::world::{Arms, Host, World, vips};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};

/// Of the client and of the server each.
const THREADS: u8 = 8;
/// Connections of each thread, which has descriptors for itself: some hosts allow 20,000.
const EACH: u16 = 13_000;
const ALL: usize = 104_000;
const FIRST_PORT: u16 = 20_000;
const SOURCES: [&str; 2] = ["192.0.2.2", "192.0.2.3"];
/// What a socket waits for the other side, while other threads open their connections.
const PATIENCE: Duration = Duration::from_mins(1);
/// What would have sent a client away.
const REFUSALS: [&str; 4] = ["sources_used_up", "flow_table_full", "reply_conflict", "no_backend"];

/// Who asks on a connection.
type Peers = BTreeMap<IpAddr, BTreeSet<u16>>;

/// A world where the director has the sources, the client an address for each thread.
fn world() -> World {
    let world = World::new(Arms::Two, 1).unwrap();
    for source in SOURCES {
        world.director.ip(&format!("address add {source}/24 dev back")).unwrap();
    }
    for number in 0..THREADS {
        let line = format!("address add {}/24 dev eth0", address(number));
        world.client.namespace.ip(&line).unwrap();
    }
    world
}

/// Where a thread of the client connects from.
fn address(thread: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 51, 100, 100 + thread)
}

fn settings(world: &World) -> Settings {
    let full_nat = format!("full_nat = {{ sources = {SOURCES:?}, ports = \"1024-65535\" }}");
    let options = "protocol = \"tcp\"\nforward = \"full-nat\"\nscheduler = \"rr\"";
    Settings {
        datapath: format!("max_flows = 200_000\n{full_nat}"),
        tables: service("shop", &vips(PORT)[..1], options, world),
    }
}

/// Acts in a namespace, with a copy of the table of descriptors that ends with the call.
fn apart<T: Send>(namespace: &Namespace, act: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    unshare(CloneFlags::CLONE_FILES).context("copy the table of descriptors")?;
    namespace.enter(act)?
}

fn patient(socket: Socket) -> Result<Socket> {
    socket.set_read_timeout(Some(PATIENCE)).context("set the timeout for reading")?;
    socket.set_write_timeout(Some(PATIENCE)).context("set the timeout for writing")?;
    Ok(socket)
}

fn socket() -> Result<Socket> {
    patient(Socket::new(Domain::IPV4, Type::STREAM, None).context("open a socket")?)
}

/// A connection of the client, and what it will ask: its own address.
fn connect(from: SocketAddrV4) -> Result<(TcpStream, [u8; 6])> {
    let socket = socket()?;
    socket.bind(&SocketAddr::from(from).into()).with_context(|| format!("bind {from}"))?;
    socket.connect(&vips(PORT)[0].into()).with_context(|| format!("connect from {from}"))?;
    let [a, b, c, d] = from.ip().octets();
    let [e, f] = from.port().to_be_bytes();
    Ok((socket.into(), [a, b, c, d, e, f]))
}

/// What a server answers.
fn answer_to(question: [u8; 6]) -> [u8; 6] {
    question.map(|byte| !byte)
}

/// Opens all connections of a thread, tells of that, and uses them once it is told to.
fn ask(thread: u8, opened: &Sender<Result<()>>, go: &Receiver<()>) -> Result<()> {
    let ports = (FIRST_PORT..).take(EACH.into());
    let connections: Result<Vec<_>> =
        ports.map(|port| connect(SocketAddrV4::new(address(thread), port))).collect();
    let (told, mut connections) = match connections {
        Ok(connections) => (Ok(()), connections),
        Err(error) => (Err(error), Vec::new()),
    };
    opened.send(told)?;
    go.recv().context("not all were opened")?;
    for (stream, question) in &mut connections {
        stream.write_all(question).context("ask")?;
    }
    for (stream, question) in &mut connections {
        let mut answer = [0; 6];
        stream
            .read_exact(&mut answer)
            .with_context(|| format!("wait for the answer to {question:?}"))?;
        ensure!(answer == answer_to(*question), "{answer:?} to {question:?}");
    }
    Ok(())
}

/// Takes as many connections as a thread has, and answers on each once; tells who asked.
fn serve(listener: &Socket) -> Result<Peers> {
    let mut peers = Peers::new();
    let mut accept = || {
        let (socket, peer) = listener.accept().context("accept")?;
        let peer = peer.as_socket().context("read who connects")?;
        peers.entry(peer.ip()).or_default().insert(peer.port());
        Ok(TcpStream::from(patient(socket)?))
    };
    let streams: Result<Vec<_>> = (0..EACH).map(|_| accept()).collect();
    for mut stream in streams? {
        let mut question = [0; 6];
        stream.read_exact(&mut question).context("wait for a question")?;
        stream.write_all(&answer_to(question)).context("answer")?;
    }
    Ok(peers)
}

/// Raises the soft limit of open files to what the threads need.
fn raise_limit() {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let needed = u64::from(EACH) + 1_000;
    assert!(
        hard >= needed,
        "threads of this test need {needed} descriptors each, and may have {hard}"
    );
    setrlimit(Resource::RLIMIT_NOFILE, soft.max(needed), hard).unwrap();
}

/// Looks at the flow table, in which all connections are established by now.
fn look(stage: &Stage<'_>) {
    let is_known = || {
        let rows = stage.agent.ctl_json(&["backend", "list"])?;
        Ok(rows[0]["traffic"]["flows"] == ALL)
    };
    wait_until("a sweep to count all connections", TIMEOUT, is_known).unwrap();
    let flows = stage.agent.ctl_json(&["conn", "list"]).unwrap();
    assert_eq!(flows["total"], ALL);
    let mut listed = flows["flows"].as_array().unwrap().iter();
    assert!(listed.all(|flow| flow["state"] == "established"), "{flows}");
    for verdict in REFUSALS {
        assert_eq!(stage.packets(verdict).unwrap(), 0, "{verdict}");
    }
}

fn listen(host: &Host) -> Result<Socket> {
    host.namespace.enter(|| {
        let socket = socket()?;
        socket.bind(&host.at(PORT)[0].into()).context("bind the server")?;
        socket.listen(128).context("listen")?;
        Ok(socket)
    })?
}

/// Opens all connections, looks at the flow table, and uses them; tells who asked.
fn open_and_use(stage: &Stage<'_>) -> Peers {
    let (host, client) = (&stage.world.backends[0], &stage.world.client.namespace);
    let listener = listen(host).unwrap();
    let begun = now();
    std::thread::scope(|scope| {
        let server = |_| scope.spawn(|| apart(&host.namespace, || serve(&listener)));
        let servers: Vec<_> = (0..THREADS).map(server).collect();
        let (opened, told) = channel();
        let ask_from = |thread| {
            let ((go, wait), opened) = (channel(), opened.clone());
            (scope.spawn(move || apart(client, move || ask(thread, &opened, &wait))), go)
        };
        // What ends this ends the clients too: their part of the channel is gone.
        let (clients, go): (Vec<_>, Vec<_>) = (0..THREADS).map(ask_from).unzip();
        for _ in &go {
            told.recv_timeout(2 * PATIENCE).unwrap().unwrap();
        }
        println!("{ALL} connections opened in {:?}", now() - begun);
        look(stage);
        // All at once, for a server's thread takes its connections in turn, whoever has opened them.
        for go in &go {
            go.send(()).unwrap();
        }
        for client in clients {
            client.join().unwrap().unwrap();
        }
        println!("and used by {:?}", now() - begun);
        let mut peers = Peers::new();
        for (ip, ports) in servers.into_iter().flat_map(|server| server.join().unwrap().unwrap()) {
            peers.entry(ip).or_default().extend(ports);
        }
        peers
    })
}

#[test]
fn more_connections_than_an_address_has_ports_are_open_at_once_through_two_sources() {
    raise_limit();
    let world = world();
    let binaries = Binaries::of_this_profile().unwrap();
    let agent = Agent::start(&world, &binaries, &settings(&world)).unwrap();
    let peers = open_and_use(&Stage { agent, webs: Vec::new(), world: &world, binaries });
    let n_ports: Vec<_> = peers.iter().map(|(ip, ports)| (ip.to_string(), ports.len())).collect();
    println!("{n_ports:?}");
    assert!(n_ports.iter().map(|(ip, _)| ip).eq(&SOURCES), "{n_ports:?}");
    assert_eq!(n_ports.iter().map(|(_, n)| n).sum::<usize>(), ALL, "each from a port of its own");
    assert!(n_ports.iter().all(|(_, n)| *n > ALL / 4), "both in turn: {n_ports:?}");
}
