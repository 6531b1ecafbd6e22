//! Errors that ICMP tells of reach the socket that can act on them, by every way of forwarding: a backend's about an
//! answer, a client's about a question. How long packets may be is in `path_mtu`.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use lb_tests::clock::{wait_for, wait_until};
use lb_tests::far;
use lb_tests::http_client::Connection;
use lb_tests::namespace::Namespace;
use lb_tests::stage::Stage;
use lb_tests::udp_echo::connect;
use lb_tests::web::PORT;
use lb_tests::world::{Arms, World, vips};

use crate::fragments::{DNS, dns_by};
use crate::path_mtu::shop_at;
use lb_tests::way::{is_direct, served_at};

use crate::{WAYS, prepare, world_for};

/// Until what is sent again and again has come to its end.
const WITHIN: Duration = Duration::from_secs(20);
/// For an answer; then the question is sent again.
const SOON: Duration = Duration::from_millis(200);

/// A socket that can be sent to.
fn bind(namespace: &Namespace, address: SocketAddr) -> UdpSocket {
    let socket = namespace.enter(|| UdpSocket::bind(address)).unwrap().unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket
}

/// A socket of the client, connected to a VIP.
fn client_of(world: &World, vip: SocketAddr) -> UdpSocket {
    world.client.namespace.enter(|| connect(vip, SOON)).unwrap().unwrap()
}

/// Sends until the kernel has heard that nobody listens where that goes.
fn send_until_refused(socket: &UdpSocket, what: &str) {
    wait_until(&format!("{what} to be told"), WITHIN, || {
        let heard = socket.send(b"?").and_then(|_| socket.recv(&mut [0; 16]));
        Ok(heard.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused))
    })
    .unwrap();
}

#[test]
fn a_backend_s_socket_hears_that_its_client_is_gone() {
    for way in WAYS {
        let world = world_for(way);
        let _backend = prepare(&world, way);
        let stage = Stage::set(&world, &dns_by(way, &world)).unwrap();
        let host = &world.backends[0];
        for (vip, at) in vips(DNS).into_iter().zip(served_at(host, way, DNS)) {
            let (server, client) = (bind(&host.namespace, at), client_of(&world, vip));
            let peer = wait_for("a question", WITHIN, || {
                client.send(b"?")?;
                Ok(server.recv_from(&mut [0; 16]).ok())
            });
            server.connect(peer.unwrap().1).unwrap();
            drop(client);
            send_until_refused(&server, &format!("{way}: the server behind {vip}"));
        }
        assert!(stage.packets("error_to_backend").unwrap() >= 2, "{way}");
    }
}

#[test]
fn a_client_s_socket_hears_that_nobody_serves_it() {
    for way in WAYS {
        let world = world_for(way);
        let _backend = prepare(&world, way);
        let stage = Stage::set(&world, &dns_by(way, &world)).unwrap();
        for vip in vips(DNS) {
            send_until_refused(&client_of(&world, vip), &format!("{way}: the client of {vip}"));
        }
        // Where the backend has the VIPs, what it sends is the client's at once.
        let is_translated = stage.packets("error_to_client").unwrap() >= 2;
        assert_eq!(is_translated, !is_direct(way), "{way}");
    }
}

/// The addresses that a tunnel leads to need not be of its client's family.
#[test]
fn a_client_s_socket_hears_of_a_router_without_a_way_to_the_backend() {
    let world = World::new(Arms::Two, 1).unwrap();
    let far = far::behind_a_backend(&world, 1_500).unwrap();
    let no_way = format!("route add unreachable {}\nroute add unreachable {}", far.v4, far.v6);
    world.backends[0].namespace.ip(&no_way).unwrap();
    let both = far.at(PORT);
    let stage = Stage::set(&world, &shop_at(&both, "nat", "tcp")).unwrap();
    let (v4, v6) = (&both[..1], &both[1..]);
    for (way, addresses) in [
        ("nat", &both[..]),
        ("full-nat", &both),
        ("ipip", &both),
        ("ipip", v4),
        ("ipip", v6),
        ("gue", &both),
        ("gue", v4),
        ("gue", v6),
    ] {
        stage.agent.write_config(&shop_at(addresses, way, "tcp")).unwrap();
        stage.agent.ctl_ok(&["reload"]).unwrap();
        let told = stage.packets("error_to_client").unwrap();
        for vip in vips(PORT) {
            let open = || Connection::open(vip, WITHIN);
            let error = world.client.namespace.enter(open).unwrap().unwrap_err();
            // A router of IPv6 says that it has no route; an error that the director builds anew, that the address
            // cannot be reached.
            let is_routers = vip.is_ipv6() && way.ends_with("nat");
            let said = if is_routers { "Network is unreachable" } else { "No route to host" };
            assert!(format!("{error:#}").contains(said), "{way} {addresses:?} {vip}: {error:#}");
        }
        assert!(stage.packets("error_to_client").unwrap() >= told + 2, "{way} {addresses:?}");
    }
}
