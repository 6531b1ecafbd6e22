//! What the host gets.

use lb_common::verdict::Verdict;
use lb_ebpf::Exit;

use crate::cast::error::{error, kinds};
use crate::cast::packet::{Body, CUSTOMER, icmp, packet, tcp, udp};
use crate::cast::{FAMILIES, FRONT, TCP, V4, V6, World};

use super::{GRE, VRRP, front, ping, shared};

#[test]
fn not_ip() {
    let world = World::new(V4, TCP);
    let arp = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 1], &[8, 6], &[0; 46]].concat();
    let sent = world.frame(&arp, FRONT);
    assert_eq!((sent.verdict, sent.exit, sent.bytes), (Verdict::NotIp, Exit::Pass, arp));
    let tags = [(CUSTOMER, 1), (CUSTOMER, 2), (CUSTOMER, 3)];
    front(&world, &tcp(V4.client, V4.vip).syn().tags(&tags), Verdict::NotIp);
}

#[test]
fn not_ours() {
    for cast in FAMILIES {
        let world = World::new(cast, TCP);
        for packet in [
            tcp(cast.client, cast.backends[0]).syn(),
            udp(cast.client, cast.backends[0]).fragment(0, true),
            tcp(cast.client, cast.other_vip).fragment(9, false),
            packet(cast.client, cast.other_vip, Body::Other(GRE, vec![0; 20])),
            packet(cast.client, cast.other_vip, Body::Other(TCP, vec![0; 19])),
            ping(&cast, cast.director),
        ] {
            front(&world, &packet, Verdict::NotOurs);
        }
    }
}

#[test]
fn vip_control() {
    for cast in FAMILIES {
        for world in [World::new(cast, TCP), shared(cast, TCP)] {
            front(&world, &ping(&cast, cast.vip.ip()), Verdict::VipControl);
        }
        let world = World::new(cast, TCP);
        let vrrp = packet(cast.client, cast.vip, Body::Other(VRRP, vec![0x31; 20]));
        front(&world, &vrrp, Verdict::VipControl);
    }
    for kind in [128, 129, 133, 134, 135, 136, 137] {
        let message = icmp(V6.client.ip(), V6.vip.ip(), kind, 0).payload(&[0; 24]);
        front(&World::new(V6, TCP), &message, Verdict::VipControl);
    }
}

#[test]
fn vip_host_port() {
    for cast in FAMILIES {
        let world = shared(cast, TCP);
        let mut ssh = cast.vip;
        ssh.set_port(22);
        let unknown = tcp(ssh, cast.client);
        let length = unknown.ip_bytes().len();
        for packet in [
            tcp(cast.client, ssh).syn(),
            udp(cast.client, cast.vip),
            tcp(cast.client, ssh).fragment(0, true),
            tcp(cast.client, cast.vip).fragment(8, false),
            packet(cast.client, cast.vip, Body::Other(GRE, vec![0; 20])),
            packet(cast.client, cast.vip, Body::Other(VRRP, vec![0; 20])),
            error(cast.router, cast.vip.ip(), kinds(&cast)[0], &unknown, length),
            icmp(cast.client.ip(), cast.vip.ip(), 40, 0),
        ] {
            front(&world, &packet, Verdict::VipHostPort);
        }
    }
}
