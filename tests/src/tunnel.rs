//! A director that only encapsulates, made of sockets: whatever is sent to a VIP goes through a tunnel to one
//! backend. The kernel makes the outer headers, so that they do not depend on our own code.

use std::io::{ErrorKind, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, Socket, Type};

use crate::command::run;
use crate::world::{VIP_V4, VIP_V6, World};

/// UDP port of GUE.
pub const GUE: u16 = 6080;

/// `ETH_P_IP` and `ETH_P_IPV6` of `linux/if_ether.h`, with the protocol of what is carried within IP.
const FAMILIES: [(u16, u8); 2] = [(0x0800, 4), (0x86dd, 41)];
/// How long a look for the end may take.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The largest packet.
const LARGEST: usize = 1 << 16;

/// How a tunnel carries packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// IP in IP.
    Ip,
    /// GUE of version 1: IP directly behind UDP.
    Direct,
    /// GUE of version 0, with a header.
    Header,
}

/// A running director; it goes before the world does.
#[derive(Debug)]
pub struct Tunnel {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<Result<()>>>>,
}

impl Tunnel {
    /// Takes what comes for the VIPs out of the kernel's hands, and sends it to `backend`.
    pub fn start(world: &World, carrier: Carrier, backend: IpAddr) -> Result<Self> {
        // Merged packets would not fit into the tunnel.
        run(world.director.command("ethtool").args(["-K", "front", "gro", "off"]))?;
        let routes = format!("route replace blackhole {VIP_V4}\nroute replace blackhole {VIP_V6}");
        world.director.ip(&routes)?;
        let mut tunnel = Self { stop: Arc::default(), threads: Vec::new() };
        for (kind, protocol) in FAMILIES {
            let end = world.director.enter(|| Ends::open(kind, protocol, carrier, backend))??;
            let stop = Arc::clone(&tunnel.stop);
            tunnel.threads.push(world.director.spawn(move || end.forward(&stop))?);
        }
        Ok(tunnel)
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            match thread.join() {
                Ok(Ok(Ok(()))) => {}
                Ok(Ok(Err(error)) | Err(error)) => eprintln!("the tunnel: {error:#}"),
                Err(_) => eprintln!("the tunnel's thread panicked"),
            }
        }
    }
}

/// Both ends of what is done with packets of one family.
struct Ends {
    /// IP packets that come in.
    from: Socket,
    to: Socket,
    backend: SocketAddr,
    /// What stands before each packet.
    header: Vec<u8>,
}

impl Ends {
    fn open(kind: u16, protocol: u8, carrier: Carrier, backend: IpAddr) -> Result<Self> {
        let kind = Protocol::from(i32::from(kind.to_be()));
        let from = Socket::new(Domain::PACKET, Type::DGRAM, Some(kind));
        let from = from.context("open a packet socket")?;
        from.set_read_timeout(Some(LOOK_EVERY)).context("bound the wait for packets")?;
        let domain = if backend.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
        let to = match carrier {
            Carrier::Ip => Socket::new(domain, Type::RAW, Some(i32::from(protocol).into())),
            Carrier::Direct | Carrier::Header => Socket::new(domain, Type::DGRAM, None),
        };
        Ok(Self {
            from,
            to: to.context("open a socket for the tunnel")?,
            backend: SocketAddr::new(backend, if carrier == Carrier::Ip { 0 } else { GUE }),
            header: if carrier == Carrier::Header { vec![0, protocol, 0, 0] } else { Vec::new() },
        })
    }

    fn forward(self, stop: &AtomicBool) -> Result<()> {
        let Self { mut from, to, backend, header } = self;
        let mut buffer = vec![0; LARGEST];
        while !stop.load(Ordering::Relaxed) {
            let length = match from.read(&mut buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error).context("read a packet"),
            };
            let packet = buffer.get(..length).unwrap_or_default();
            if is_to_a_vip(packet) {
                let carried = [&header, packet].concat();
                to.send_to(&carried, &backend.into()).context("send into the tunnel")?;
            }
        }
        Ok(())
    }
}

fn is_to_a_vip(packet: &[u8]) -> bool {
    let destination = match packet.first().map(|first| first >> 4) {
        Some(4) => address::<4>(packet, 16).map(|octets| IpAddr::from(Ipv4Addr::from(octets))),
        Some(6) => address::<16>(packet, 24).map(|octets| IpAddr::from(Ipv6Addr::from(octets))),
        _ => None,
    };
    destination.is_some_and(|destination| destination == VIP_V4 || destination == VIP_V6)
}

fn address<const N: usize>(packet: &[u8], at: usize) -> Option<[u8; N]> {
    packet.get(at..)?.first_chunk().copied()
}
