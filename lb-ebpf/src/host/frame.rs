//! A frame in a buffer, with room before it.

use core::cell::Cell;

use network_types::eth::EthHdr;

use crate::packet::Frame;

/// Bytes before a frame that it may grow into, as XDP has them.
pub const HEADROOM: usize = 256;

/// A frame in memory. Its bytes are `Cell`s, since windows write through shared references.
#[derive(Clone, Debug)]
pub struct HostFrame {
    buffer: Vec<Cell<u8>>,
    start: usize,
    end: usize,
    interface: u32,
}

impl HostFrame {
    /// A frame that came in by the interface with this index.
    pub fn new(bytes: &[u8], interface: u32) -> Self {
        let headroom = core::iter::repeat_n(0, HEADROOM);
        let buffer: Vec<_> = headroom.chain(bytes.iter().copied()).map(Cell::new).collect();
        Self { start: HEADROOM, end: buffer.len(), buffer, interface }
    }

    /// The bytes as they are now.
    pub fn bytes(&self) -> Vec<u8> {
        self.buffer[self.start..self.end].iter().map(Cell::get).collect()
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

    /// There is no room behind the frame; it can only be cut.
    fn move_end(&mut self, delta: i32) -> bool {
        let new = moved(self.end, delta, self.start + EthHdr::LEN, self.buffer.len());
        self.end = new.unwrap_or(self.end);
        new.is_some()
    }
}
