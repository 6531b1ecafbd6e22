//! Clients that have said all, and wait for an answer that takes its time.
#![cfg(feature = "root")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use lb_tests::agent::{Settings, service};
use lb_tests::clock::pause;
use lb_tests::stage::Stage;
use lb_tests::web::PORT;
use lb_tests::world::{Arms, Host, World, vips};

/// Longer than a flow that is ending is remembered: two ticks of 4.3 s.
const SILENCE: Duration = Duration::from_secs(12);
const TIMEOUT: Duration = Duration::from_secs(30);

/// Answers a connection after its client has closed its half, and some silence.
fn answer_late(listener: &TcpListener) {
    let (mut connection, _) = listener.accept().unwrap();
    let mut request = String::new();
    connection.read_to_string(&mut request).unwrap();
    pause(SILENCE);
    connection.write_all(format!("{request}, answered").as_bytes()).unwrap();
}

fn listen(host: &Host) -> [TcpListener; 2] {
    host.at(PORT).map(|at| host.namespace.enter(|| TcpListener::bind(at)).unwrap().unwrap())
}

/// Sends a request and closes the half; returns the answer.
fn ask(vip: SocketAddr) -> String {
    let mut connection = TcpStream::connect_timeout(&vip, TIMEOUT).unwrap();
    connection.set_read_timeout(Some(TIMEOUT)).unwrap();
    connection.write_all(vip.to_string().as_bytes()).unwrap();
    connection.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_client_that_closed_its_half_gets_an_answer_long_after_tcp_fin() {
    let world = World::new(Arms::Two, 1).unwrap();
    let datapath = "[datapath.timeouts]\ntcp_fin = \"4295ms\"\n".to_owned();
    let options = "protocol = \"tcp\"\nforward = \"nat\"";
    let tables = service("shop", &vips(PORT), options, &world);
    let settings = Settings { datapath, tables };
    let _stage = Stage::set_at(&world, &settings.file(&world), &[]).unwrap();
    let listeners = listen(&world.backends[0]);
    let client = &world.client.namespace;
    std::thread::scope(|scope| {
        for listener in &listeners {
            scope.spawn(|| answer_late(listener));
        }
        let asked = vips(PORT).map(|vip| scope.spawn(move || client.enter(|| ask(vip)).unwrap()));
        let answers = asked.map(|client| client.join().unwrap());
        assert_eq!(answers, vips(PORT).map(|vip| format!("{vip}, answered")));
    });
}
