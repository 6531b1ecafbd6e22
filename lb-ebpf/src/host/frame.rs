//! A frame in a buffer, with room before it and memory behind it that is not the packet's.

use core::cell::Cell;

use network_types::eth::EthHdr;

use crate::checksum::Sum;
use crate::family::Family;
use crate::flow::Tuple;
use crate::packet::Frame;

/// Bytes before a frame that it may grow into, as XDP has them.
pub const HEADROOM: usize = 256;

/// Bytes behind a frame that nothing may read or write.
const TAIL: usize = 320;

/// A frame in memory. Its bytes are `Cell`s, since windows write through shared references.
#[derive(Clone, Debug)]
pub struct HostFrame {
    buffer: Vec<Cell<u8>>,
    start: usize,
    end: usize,
    interface: u32,
    tail: usize,
    is_for_host: bool,
}

impl HostFrame {
    /// A frame that came in by the interface with this index.
    pub fn new(bytes: &[u8], interface: u32) -> Self {
        let tail = HEADROOM + bytes.len();
        let buffer = [&[0; HEADROOM], bytes, &[0; TAIL]].concat();
        let buffer = buffer.into_iter().map(Cell::new).collect();
        Self { buffer, start: HEADROOM, end: tail, interface, tail, is_for_host: false }
    }

    /// A frame with a packet that the host's own stack would take.
    #[must_use]
    pub fn for_host(self) -> Self {
        Self { is_for_host: true, ..self }
    }

    /// Fills the memory around the frame with this byte; the result of a packet does not depend on it.
    #[must_use]
    pub fn amid(self, byte: u8) -> Self {
        let (before, rest) = self.buffer.split_at(self.start);
        let (_, behind) = rest.split_at(self.end - self.start);
        before.iter().chain(behind).for_each(|cell| cell.set(byte));
        self
    }

    /// The memory behind the frame as it came in.
    pub fn tail(&self) -> Vec<u8> {
        self.buffer[self.tail..].iter().map(Cell::get).collect()
    }

    /// The bytes as they are now.
    pub fn bytes(&self) -> Vec<u8> {
        self.buffer[self.start..self.end].iter().map(Cell::get).collect()
    }

    /// Updates the checksum at an offset for a word that has changed.
    pub fn update_checksum(&mut self, at: usize, old: u16, new: u16) {
        let field = &self.buffer[self.start + at..][..2];
        let checksum = u16::from_ne_bytes([field[0].get(), field[1].get()]);
        let changed = Sum::default().change(old, new).applied_to(checksum).to_ne_bytes();
        field.iter().zip(changed).for_each(|(cell, byte)| cell.set(byte));
    }

    /// The address of a position; the pointer is good for the whole buffer.
    fn at(&self, position: usize) -> *mut u8 {
        self.buffer.as_ptr().cast::<u8>().cast_mut().wrapping_add(position)
    }
}

/// A position moved by `delta`, if it stays within the limits.
fn moved(position: usize, delta: i32, lowest: usize, highest: usize) -> Option<usize> {
    let new = position.checked_add_signed(isize::try_from(delta).ok()?)?;
    (lowest <= new && new <= highest).then_some(new)
}

impl Frame for HostFrame {
    fn start(&self) -> *mut u8 {
        self.at(self.start)
    }

    fn end(&self) -> *mut u8 {
        self.at(self.end)
    }

    fn interface(&self) -> u32 {
        self.interface
    }

    /// As in the kernel, an Ethernet header must be left.
    fn move_start(&mut self, delta: i32) -> bool {
        let highest = self.end.saturating_sub(EthHdr::LEN);
        let new = moved(self.start, delta, 0, highest);
        self.start = new.unwrap_or(self.start);
        new.is_some()
    }

    /// A frame can only be cut: the memory behind it is not its own.
    fn move_end(&mut self, delta: i32) -> bool {
        let new = moved(self.end, delta, self.start + EthHdr::LEN, self.tail);
        self.end = new.unwrap_or(self.end);
        new.is_some()
    }

    fn is_routed<A: Family>(&self, _ends: &Tuple<A>) -> bool {
        !self.is_for_host
    }
}
