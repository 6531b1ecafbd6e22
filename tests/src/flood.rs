//! A flood of SYNs from sources that are not there, sent as live frames: as fast as the machine can, or at a rate.
//!
//! The kernel uses the pages of frames again, and who gets them writes into them. So a program made here writes each
//! frame anew; what it draws by chance stands there once more, inverted, so that the checksums stay right. All 32 bits
//! of it tell a connection: hardly any comes twice.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use aya::programs::{TestRun, TestRunAttrs, TestRunOptions, Xdp};
use etherparse::PacketBuilder;

use crate::clock::{now, pause, wait_until};
use crate::namespace::Namespace;
use crate::xdp::{self, Program};

/// The sources: 100.64.0.0/16 (RFC 6598); what is behind 16 bits is drawn.
pub const SOURCE: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 0);
/// Those of IPv6: the last 16 bits are drawn.
const SOURCE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x6440, 0, 0, 0, 0, 0);
/// Frames of one batch, so that no queue of 256 (`VETH_RING_SIZE` in drivers/net/veth.c) overflows.
const BATCH: u32 = 64;
/// Frames between two looks at whether to go on.
const MANY: u32 = 65_536;
/// With a rate, each thread sends so many times a second: to end takes the kernel up to 30 ms, one thread after the other.
const BURSTS: u32 = 5;
const WITHIN: Duration = Duration::from_mins(1);

/// Which way the flood goes.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// Index of the interface that it leaves by.
    pub interface: u32,
    /// The MAC addresses of the next hop and of that interface.
    pub macs: [[u8; 6]; 2],
    /// The listener.
    pub target: SocketAddr,
}

/// A running flood.
#[derive(Debug)]
pub struct Flood {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Result<Result<()>>>>,
}

impl Flood {
    /// Starts to send from a namespace, with so many threads, each at most so many frames a second: in bursts, of which
    /// those of one thread come between those of the others.
    pub fn start(from: &Namespace, way: Way, (threads, rate): (u32, Option<u32>)) -> Result<Self> {
        let frame = syn(way)?;
        let program = writer(&frame, if way.target.is_ipv4() { &V4 } else { &V6 });
        let (stop, sent) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let thread = |number: u32| {
            let (frame, program) = (frame.clone(), program.clone());
            let shared = (Arc::clone(&stop), Arc::clone(&sent));
            let rate = rate.map(|rate| (rate, Duration::from_secs(1) * number / BURSTS / threads));
            from.spawn(move || send((&program, &frame), way.interface, rate, &shared))
        };
        let threads = (0..threads).map(thread).collect::<Result<_>>()?;
        Ok(Self { stop, sent, threads })
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
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            if !matches!(ended, Ok(Ok(Ok(())))) {
                eprintln!("the flood has failed: {ended:?}");
            }
        }
    }
}

fn send(
    (program, frame): (&[u64], &[u8]),
    interface: u32,
    rate: Option<(u32, Duration)>,
    (stop, sent): &(Arc<AtomicBool>, Arc<AtomicU64>),
) -> Result<()> {
    let mut loaded = xdp::load(Program::of(program))?;
    let program: &mut Xdp =
        loaded.program_mut(xdp::NAME).context("find the program")?.try_into()?;
    program.load()?;
    // `struct xdp_md` of linux/bpf.h.
    let end = u32::try_from(frame.len())?;
    let context: Vec<u8> =
        [0, end, 0, interface, 0, 0].into_iter().flat_map(u32::to_ne_bytes).collect();
    let (repeat, delay) = rate.map_or((MANY, Duration::ZERO), |(rate, delay)| {
        ((rate / BURSTS).next_multiple_of(BATCH), delay)
    });
    pause(delay);
    let (began, mut of_thread) = (now(), 0.0);
    while !stop.load(Ordering::Relaxed) {
        program
            .test_run(TestRunOptions {
                data_in: Some(frame),
                ctx_in: Some(&context),
                repeat,
                attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
                ..TestRunOptions::default()
            })
            .context("send live frames")?;
        sent.fetch_add(repeat.into(), Ordering::Relaxed);
        of_thread += f64::from(repeat);
        if let Some((rate, _)) = rate {
            let due = Duration::from_secs_f64(of_thread / f64::from(rate));
            pause(due.saturating_sub(began.elapsed()));
        }
    }
    Ok(())
}

/// The frame of a SYN, as the wire and the program want it: at least 60 bytes, and whole words.
fn syn(Way { macs: [next_hop, own], target, .. }: Way) -> Result<Vec<u8>> {
    let mut frame = Vec::new();
    let link = PacketBuilder::ethernet2(own, next_hop);
    let ip = match target.ip() {
        IpAddr::V4(target) => link.ipv4(SOURCE.octets(), target.octets(), 64),
        IpAddr::V6(target) => link.ipv6(SOURCE_V6.octets(), target.octets(), 64),
    };
    ip.tcp(0, target.port(), 0, 64_240).syn().write(&mut frame, &[])?;
    // What is drawn and its inverse add up to -0 in ones' complement, which is what the checksums have for 0.
    frame.resize(frame.len().next_multiple_of(4).max(60), 0);
    Ok(frame)
}

/// Where a frame of TCP without options has the words that are drawn, and those that are inverted.
struct Places {
    source_end: u64,
    /// Of IPv4, whose header has a checksum of its own.
    identification: Option<u64>,
    source_port: u64,
    sequence: u64,
}

const V4: Places =
    Places { source_end: 28, identification: Some(18), source_port: 34, sequence: 38 };
const V6: Places = Places { source_end: 36, identification: None, source_port: 54, sequence: 58 };

/// A program that writes the frame, draws source, port and sequence number, and sends it.
fn writer(frame: &[u8], places: &Places) -> Vec<u64> {
    let length = frame.iter().fold(0, |length, _| length + 1);
    let mut program = vec![
        0x0000_0000_0000_16bf,   // r6 = r1
        0x0000_0007_0000_0085,   // r0 = bpf_get_prandom_u32()
        0x0000_0000_0000_6261,   // r2 = data
        0x0000_0000_0004_6361,   // r3 = data_end
        0x0000_0000_0000_24bf,   // r4 = r2
        (length << 32) | 0x0407, // r4 += length
    ];
    let (words, _) = frame.as_chunks::<4>();
    let mut body: Vec<u64> = (0..)
        .zip(words)
        .map(|(n, word)| (u64::from(u32::from_le_bytes(*word)) << 32) | ((n * 4) << 16) | 0x0262)
        .collect();
    let store = |at: u64, register: u64| (at << 16) | (register << 12) | 0x026b;
    body.extend([
        store(places.source_end, 0),
        0x0000_0000_0000_05bf, // r5 = r0
        0x0000_ffff_0000_05a7, // r5 ^= 0xffff
    ]);
    body.extend(places.identification.map(|at| store(at, 5)));
    body.extend([
        store(places.sequence, 5),
        0x0000_0010_0000_0077, // r0 >>= 16
        store(places.source_port, 0),
        0x0000_ffff_0000_00a7, // r0 ^= 0xffff
        store(places.sequence + 2, 0),
    ]);
    // if r4 > r3 goto end
    program.push((body.iter().fold(0, |length, _| length + 1) << 16) | 0x342d);
    program.extend(body);
    program.extend([
        0x0000_0003_0000_00b7, // end: r0 = XDP_TX
        0x0000_0000_0000_0095, // exit
    ]);
    program
}
