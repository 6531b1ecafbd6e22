//! A flood of SYNs from sources that are not there, as fast as one thread can send.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use etherparse::PacketBuilder;
use lb_tests::clock::wait_until;
use lb_tests::namespace::Namespace;
use socket2::{Domain, Socket, Type};

/// `IPPROTO_RAW` of linux/in.h: the packet brings its own header.
const RAW: i32 = 255;
/// The sources: 100.64.0.0/10 (RFC 6598).
const SOURCES: u32 = 0x6440_0000;
/// SYNs that are made before the first is sent.
const PACKETS: u32 = 65_536;
const WITHIN: Duration = Duration::from_mins(1);

/// A running flood.
pub struct Flood {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<Result<Result<()>>>>,
}

impl Flood {
    /// Starts to send to `target` from a namespace.
    pub fn start(from: &Namespace, target: SocketAddrV4) -> Result<Self> {
        let (stop, sent) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let shared = (Arc::clone(&stop), Arc::clone(&sent));
        let thread = from.spawn(move || send(target, &shared.0, &shared.1))?;
        Ok(Self { stop, sent, thread: Some(thread) })
    }

    /// SYNs sent so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Waits until so many more have been sent.
    pub fn wait_for(&self, more: u64) -> Result<()> {
        let goal = self.sent() + more;
        wait_until("the flood to go on", WITHIN, || Ok(self.sent() >= goal))
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().map(JoinHandle::join);
        if !matches!(thread, Some(Ok(Ok(Ok(()))))) {
            eprintln!("the flood has failed: {thread:?}");
        }
    }
}

fn send(target: SocketAddrV4, stop: &AtomicBool, sent: &AtomicU64) -> Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(RAW.into())).context("open a socket")?;
    let packets = (1..=PACKETS).map(|number| syn(target, number)).collect::<Result<Vec<_>>>()?;
    for packet in packets.iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        // A full queue drops what it cannot hold, as a wire does.
        if socket.send_to(packet, &target.into()).is_ok() {
            sent.fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(())
}

/// A SYN, each of another source.
fn syn(target: SocketAddrV4, number: u32) -> Result<Vec<u8>> {
    let mixed = number.wrapping_mul(0x9e37_79b1);
    let source = Ipv4Addr::from(SOURCES | (mixed >> 10)).octets();
    let port = u16::try_from(mixed & 0x7fff)? + 1_024;
    let mut packet = Vec::new();
    PacketBuilder::ipv4(source, target.ip().octets(), 64)
        .tcp(port, target.port(), mixed, 64_240)
        .syn()
        .write(&mut packet, &[])?;
    Ok(packet)
}
