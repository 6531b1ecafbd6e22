//! More connections at once through full NAT than an address has ports, to one backend: two sources carry them.
//!
//! Connections are used a few at a time: 100,000 segments that are sent at once overflow the queue of a veth, and where
//! their timers go on doing so together TCP gives some up after fifteen tries.
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
const FIRST_HOST: u8 = 100;
const FIRST_PORT: u16 = 20_000;
/// Connections that each thread of the server calls at once: those of all do not fill the 256 places of a veth's queue.
const AT_ONCE: usize = 16;
const SOURCES: [&str; 2] = ["192.0.2.2", "192.0.2.3"];
/// What a socket waits for the other side, while other threads open their connections.
const PATIENCE: Duration = Duration::from_mins(1);
/// What would have sent a client away.
const REFUSALS: [&str; 4] = ["sources_used_up", "flow_table_full", "reply_conflict", "no_backend"];

/// Which of its connections a thread of the client is to ask on.
type Call = u16;

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
    Ipv4Addr::new(198, 51, 100, FIRST_HOST + thread)
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

/// What a client asks on a connection: its own address.
fn question(from: SocketAddrV4) -> [u8; 6] {
    let mut question = [0; 6];
    question[..4].copy_from_slice(&from.ip().octets());
    question[4..].copy_from_slice(&from.port().to_be_bytes());
    question
}

/// What a server answers.
fn answer_to(question: [u8; 6]) -> [u8; 6] {
    question.map(|byte| !byte)
}

/// A connection of the client, on which it has asked for the first time.
fn connect(from: SocketAddrV4) -> Result<TcpStream> {
    let socket = socket()?;
    socket.bind(&SocketAddr::from(from).into()).with_context(|| format!("bind {from}"))?;
    socket.connect(&vips(PORT)[0].into()).with_context(|| format!("connect from {from}"))?;
    let mut stream = TcpStream::from(socket);
    stream.write_all(&question(from)).with_context(|| format!("ask from {from}"))?;
    Ok(stream)
}

/// Opens all connections of a thread, tells of that, and asks once more on each that a server calls. Answers are read
/// when all are called, for a server waits for what it has called.
fn ask(thread: u8, opened: &Sender<Result<()>>, calls: &Receiver<Call>) -> Result<()> {
    let from = |number| SocketAddrV4::new(address(thread), FIRST_PORT + number);
    let connections: Result<Vec<_>> = (0..EACH).map(|number| connect(from(number))).collect();
    let (told, mut connections) = match connections {
        Ok(connections) => (Ok(()), connections),
        Err(error) => (Err(error), Vec::new()),
    };
    opened.send(told)?;
    let mut asked = Vec::new();
    for number in calls {
        let stream = connections.get_mut(usize::from(number)).context("find what is called")?;
        stream.write_all(&question(from(number))).context("ask once more")?;
        asked.push(number);
    }
    for number in asked {
        let (question, mut answer) = (question(from(number)), [0; 6]);
        let stream = connections.get_mut(usize::from(number)).context("find what is asked")?;
        stream.read_exact(&mut answer).with_context(|| format!("wait at {}", from(number)))?;
        ensure!(answer == answer_to(question), "{answer:?} to {question:?}");
    }
    Ok(())
}

/// A connection as the server has it, and the first question on it.
struct Accepted {
    stream: TcpStream,
    question: [u8; 6],
}

impl Accepted {
    /// The thread of the client, and which of its connections this is.
    fn caller(&self) -> (usize, Call) {
        let [_, _, _, host, high, low] = self.question;
        (usize::from(host - FIRST_HOST), u16::from_be_bytes([high, low]) - FIRST_PORT)
    }

    /// Has the client ask once more.
    fn call(&self, clients: &[Sender<Call>]) -> Result<()> {
        let (thread, call) = self.caller();
        clients.get(thread).context("find the client")?.send(call).context("call the client")
    }

    fn answer(&mut self) -> Result<()> {
        let mut question = [0; 6];
        self.stream.read_exact(&mut question).context("wait for a question")?;
        ensure!(question == self.question, "{question:?} after {:?}", self.question);
        self.stream.write_all(&answer_to(question)).context("answer")
    }
}

/// Takes as many connections as a thread has, answers on each once all are open, and keeps them until the clients are
/// done; tells who asked.
fn serve(listener: &Socket, go: &Receiver<()>, clients: Vec<Sender<Call>>) -> Result<Peers> {
    let mut peers = Peers::new();
    let mut accept = || {
        let (socket, peer) = listener.accept().context("accept")?;
        let peer = peer.as_socket().context("read who connects")?;
        peers.entry(peer.ip()).or_default().insert(peer.port());
        let (mut stream, mut question) = (TcpStream::from(patient(socket)?), [0; 6]);
        stream.read_exact(&mut question).context("wait for the first question")?;
        Ok(Accepted { stream, question })
    };
    let accepted: Result<Vec<_>> = (0..EACH).map(|_| accept()).collect();
    let mut accepted = accepted?;
    go.recv().context("not all were opened")?;
    for some in accepted.chunks_mut(AT_ONCE) {
        some.iter().try_for_each(|it| it.call(&clients))?;
        some.iter_mut().try_for_each(Accepted::answer)?;
    }
    drop(clients);
    for () in go {}
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
    let listener = &listen(host).unwrap();
    let begun = now();
    std::thread::scope(|scope| {
        let (opened, told) = channel();
        let ask_from = |thread| {
            let ((call, calls), opened) = (channel(), opened.clone());
            (scope.spawn(move || apart(client, move || ask(thread, &opened, &calls))), call)
        };
        let (clients, calls): (Vec<_>, Vec<_>) = (0..THREADS).map(ask_from).unzip();
        // What ends this ends the servers too, and they the clients: their parts of the channels are gone.
        let server = |calls: Vec<Sender<Call>>| {
            let (go, wait) = channel();
            let act = move || serve(listener, &wait, calls);
            (scope.spawn(move || apart(&host.namespace, act)), go)
        };
        let calls = vec![calls; usize::from(THREADS)];
        let (servers, go): (Vec<_>, Vec<_>) = calls.into_iter().map(server).unzip();
        for _ in &go {
            told.recv_timeout(2 * PATIENCE).unwrap().unwrap();
        }
        println!("{ALL} connections opened in {:?}", now() - begun);
        look(stage);
        println!("and looked at by {:?}", now() - begun);
        for go in &go {
            go.send(()).unwrap();
        }
        for client in clients {
            client.join().unwrap().unwrap();
        }
        drop(go);
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
