//! The maps in plain memory, for tests on the host.

use core::cell::Cell as Memory;
use core::mem::MaybeUninit;
use core::net::IpAddr;
use std::collections::HashMap;

use lb_common::decap::{Key, Settings, Verdict};
use lb_common::layout::Count;
use lb_common::verdict::MAX_VERDICTS;

use super::{Maps, Scratch, Segment, clamp, process};
use crate::host::HostFrame;
use crate::packet::Packet;
use crate::tables::Entry;

/// The maps in plain memory.
#[derive(Debug)]
pub struct HostMaps {
    /// What is the same for all packets.
    pub settings: Settings,
    /// What addresses are.
    pub addresses: HashMap<Key, u32>,
    /// Outer sources that are allowed.
    pub sources: Vec<IpAddr>,
    scratch: Box<Memory<Scratch>>,
    number: Memory<u64>,
    counts: Vec<Memory<Count>>,
}

impl HostMaps {
    /// Maps that name no address.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            addresses: HashMap::new(),
            sources: Vec::new(),
            scratch: Box::new(Memory::new(rubbish())),
            number: Memory::new(0),
            counts: vec![Memory::default(); MAX_VERDICTS as usize],
        }
    }

    /// Says what an address is.
    pub fn add(&mut self, address: IpAddr, role: u32) {
        *self.addresses.entry(address.into()).or_default() |= role;
    }

    /// A frame comes in.
    pub fn receive(&self, bytes: &[u8]) -> (Verdict, Vec<u8>) {
        let mut packet = Packet::new(HostFrame::new(bytes, 1));
        let verdict = process(&mut packet, self);
        (verdict, packet.into_frame().bytes())
    }

    /// A frame goes out.
    pub fn send(&self, bytes: &[u8]) -> Vec<u8> {
        let mut packet = Packet::new(HostFrame::new(bytes, 1));
        clamp(&mut packet, self);
        packet.into_frame().bytes()
    }

    /// Packets and bytes with a verdict.
    pub fn counted(&self, verdict: Verdict) -> Count {
        self.counts[verdict.number() as usize].get()
    }
}

/// Memory as the kernel gives it, which nobody has cleared.
fn rubbish() -> Scratch {
    let mut scratch = MaybeUninit::<Scratch>::uninit();
    // SAFETY: the pointer is valid for writes of one value.
    unsafe { scratch.as_mut_ptr().write_bytes(0xa5, 1) };
    // SAFETY: every byte is written, and all fields are plain numbers, which any bytes are a value of.
    unsafe { scratch.assume_init() }
}

fn entry<T: Copy>(memory: &Memory<T>) -> Entry<T> {
    // SAFETY: the memory lives as long as the maps, which outlive the packet; a `Cell` may be written through
    // a shared reference, and belongs to one thread.
    unsafe { Entry::new(memory.as_ptr()) }
}

impl Maps for HostMaps {
    fn settings(&self) -> Option<Settings> {
        Some(self.settings)
    }

    fn roles(&self, address: &Key) -> u32 {
        self.addresses.get(address).copied().unwrap_or_default()
    }

    fn is_listed(&self, source: &Key) -> bool {
        self.sources.iter().any(|listed| Key::from(*listed) == *source)
    }

    fn scratch(&self) -> Option<Entry<Scratch>> {
        Some(entry(&self.scratch))
    }

    fn number(&self) -> Option<Entry<u64>> {
        Some(entry(&self.number))
    }

    fn count(&self, number: u32) -> Option<Entry<Count>> {
        self.counts.get(number as usize).map(entry)
    }
}

/// As a network interface without offloads has it: the checksum is there, and is kept true.
impl Segment for HostFrame {
    fn fix_checksum(&mut self, at: usize, old: u16, new: u16) {
        self.update_checksum(at, old, new);
    }
}
