//! The packet as the verifier lets it be read: windows of proven length.
//!
//! A [`Window`] is made by comparing its end with the packet's end, on the very pointer that is used
//! afterwards; that is the comparison that the kernel's verifier looks for. Words are loaded here and
//! nowhere else. Moving an edge of the packet needs it mutable, so that a stale window is a compile error.

use core::marker::PhantomData;

use crate::family::Family;
use crate::flow::Tuple;
use crate::verifier;

/// Highest offset at which a window may start; enough for two VLAN tags, an IPv6 header, all extension
/// headers that are followed, and the same again inside an ICMP error.
const MAX_OFFSET: usize = 2_047;

/// Where a packet lies and where it came in.
pub trait Frame: Sized {
    /// Address of the first byte.
    fn start(&self) -> *mut u8;
    /// Address behind the last byte.
    fn end(&self) -> *mut u8;
    /// Index of the interface that the packet came in by.
    fn interface(&self) -> u32;
    /// Moves the start by `delta` bytes, forward if positive; says whether there was room.
    fn move_start(&mut self, delta: i32) -> bool;
    /// Moves the end by `delta` bytes, forward if positive; says whether that could be.
    fn move_end(&mut self, delta: i32) -> bool;
    /// Whether the host's own stack would send the packet on, which has these ends, and not take it.
    fn is_routed<A: Family>(&self, ends: &Tuple<A>) -> bool;
}

/// A whole frame, Ethernet header first.
#[derive(Debug)]
pub struct Packet<F> {
    frame: F,
}

impl<F: Frame> Packet<F> {
    /// Wraps a frame.
    #[inline(always)]
    pub fn new(frame: F) -> Self {
        Self { frame }
    }

    /// Gives the frame back.
    pub fn into_frame(self) -> F {
        self.frame
    }

    /// The frame itself; windows do not outlive a look at it.
    #[inline(always)]
    pub fn frame_mut(&mut self) -> &mut F {
        &mut self.frame
    }

    /// See [`Frame::is_routed`].
    #[inline(always)]
    pub fn is_routed<A: Family>(&self, ends: &Tuple<A>) -> bool {
        self.frame.is_routed(ends)
    }

    /// Length in bytes.
    #[inline(always)]
    pub fn length(&self) -> usize {
        self.frame.end().addr() - self.frame.start().addr()
    }

    /// Index of the interface that the packet came in by.
    #[inline(always)]
    pub fn interface(&self) -> u32 {
        self.frame.interface()
    }

    /// `N` bytes from `offset`, or `None` where the packet ends before.
    #[inline(always)]
    pub fn window<const N: usize>(&self, offset: usize) -> Option<Window<'_, N>> {
        if offset > MAX_OFFSET {
            return None;
        }
        let start = verifier::advance(self.frame.start(), offset);
        if start.wrapping_add(N) > self.frame.end() {
            return None;
        }
        Some(Window { start, packet: PhantomData })
    }

    /// Moves the start of the packet outward; the caller writes every byte that is gained.
    #[inline(always)]
    #[must_use]
    pub fn grow(&mut self, bytes: i32) -> bool {
        self.frame.move_start(-bytes)
    }

    /// Moves the end of the packet outward.
    #[inline(always)]
    #[must_use]
    pub fn extend(&mut self, bytes: i32) -> bool {
        self.frame.move_end(bytes)
    }
}

/// `N` bytes of a packet. Several windows may show the same bytes, so they are written through `&self`.
#[derive(Clone, Copy, Debug)]
pub struct Window<'p, const N: usize> {
    start: *mut u8,
    packet: PhantomData<&'p ()>,
}

macro_rules! words {
    ($($get:ident $set:ident $word:ty, $bytes:literal;)+) => {$(
        /// The word at offset `O`, as it stands in memory: network order.
        #[inline(always)]
        pub fn $get<const O: usize>(&self) -> $word {
            const { assert!(O + $bytes <= N) };
            let word = self.start.wrapping_add(O).cast::<$word>();
            // SAFETY: the window holds N bytes, and the word lies within them. On BPF the load is done
            // unaligned, which the verifier accepts where the machine does (x86-64, arm64).
            unsafe { load(word) }
        }

        /// Writes the word at offset `O`, as it stands in memory: network order.
        #[inline(always)]
        pub fn $set<const O: usize>(&self, value: $word) {
            const { assert!(O + $bytes <= N) };
            let word = self.start.wrapping_add(O).cast::<$word>();
            // SAFETY: as for the load; nothing else holds a reference to the packet's bytes.
            unsafe { store(word, value) }
        }
    )+};
}

#[expect(clippy::int_plus_one, reason = "written once for words of all lengths")]
impl<const N: usize> Window<'_, N> {
    words! {
        u8_at set_u8 u8, 1;
        u16_at set_u16 u16, 2;
        u32_at set_u32 u32, 4;
    }

    /// Four words from offset `O`.
    #[inline(always)]
    pub fn words_at<const O: usize>(&self) -> [u32; 4] {
        let quarter = |start: *mut u8| {
            // SAFETY: see below; the four words lie within the window.
            unsafe { load(start.cast::<u32>()) }
        };
        const { assert!(O + 16 <= N) };
        let start = self.start.wrapping_add(O);
        [
            quarter(start),
            quarter(start.wrapping_add(4)),
            quarter(start.wrapping_add(8)),
            quarter(start.wrapping_add(12)),
        ]
    }

    /// Writes four words from offset `O`.
    #[inline(always)]
    pub fn set_words<const O: usize>(&self, words: [u32; 4]) {
        const { assert!(O + 16 <= N) };
        let mut word = self.start.wrapping_add(O).cast::<u32>();
        for value in words {
            // SAFETY: the four words lie within the window.
            unsafe { store(word, value) };
            word = word.wrapping_add(1);
        }
    }

    /// A MAC address from offset `O`.
    #[inline(always)]
    pub fn mac_at<const O: usize>(&self) -> Mac {
        const { assert!(O + 6 <= N) };
        let start = self.start.wrapping_add(O);
        // SAFETY: the first four of six bytes that lie within the window.
        let first = unsafe { load(start.cast::<u32>()) };
        // SAFETY: the last two of the six.
        let last = unsafe { load(start.wrapping_add(4).cast::<u16>()) };
        Mac { first, last }
    }

    /// Writes destination and source of an Ethernet header at the start.
    #[inline(always)]
    pub fn set_macs(&self, macs: &[u8; 12]) {
        let word =
            |at: usize| u32::from_ne_bytes([macs[at], macs[at + 1], macs[at + 2], macs[at + 3]]);
        self.set_u32::<0>(word(0));
        self.set_u32::<4>(word(4));
        self.set_u32::<8>(word(8));
    }

    /// Writes a MAC address from offset `O`.
    #[inline(always)]
    pub fn set_mac<const O: usize>(&self, mac: Mac) {
        const { assert!(O + 6 <= N) };
        let start = self.start.wrapping_add(O);
        // SAFETY: the first four of six bytes that lie within the window.
        unsafe { store(start.cast::<u32>(), mac.first) };
        // SAFETY: the last two of the six.
        unsafe { store(start.wrapping_add(4).cast::<u16>(), mac.last) };
    }
}

/// A MAC address in two words, as they stand in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mac {
    /// The first four bytes.
    pub first: u32,
    /// The last two.
    pub last: u16,
}

impl Mac {
    /// The last two bytes of a virtual router's address, 00-00-5E-00-01-id or 00-00-5E-00-02-id (RFC 9568 7.3).
    #[inline(always)]
    pub fn virtual_router(self) -> Option<u16> {
        let router = u16::from_be(self.last);
        let is_one = self.first == u32::from_ne_bytes([0, 0, 0x5e, 0]);
        (is_one && matches!(router >> 8, 1 | 2)).then_some(router)
    }
}

impl From<[u8; 6]> for Mac {
    #[inline(always)]
    fn from([m0, m1, m2, m3, m4, m5]: [u8; 6]) -> Self {
        Self { first: u32::from_ne_bytes([m0, m1, m2, m3]), last: u16::from_ne_bytes([m4, m5]) }
    }
}

impl From<Mac> for [u8; 6] {
    #[inline(always)]
    fn from(mac: Mac) -> Self {
        let ([m0, m1, m2, m3], [m4, m5]) = (mac.first.to_ne_bytes(), mac.last.to_ne_bytes());
        [m0, m1, m2, m3, m4, m5]
    }
}

/// Loads a word that need not be aligned.
#[inline(always)]
#[cfg(target_arch = "bpf")]
unsafe fn load<T: Copy>(word: *const T) -> T {
    // SAFETY: the caller's; a plain load keeps it one instruction.
    unsafe { *word }
}

/// Loads a word that need not be aligned.
#[inline(always)]
#[cfg(not(target_arch = "bpf"))]
unsafe fn load<T: Copy>(word: *const T) -> T {
    // SAFETY: the caller's.
    unsafe { word.read_unaligned() }
}

/// Stores a word that need not be aligned.
#[inline(always)]
#[cfg(target_arch = "bpf")]
unsafe fn store<T: Copy>(word: *mut T, value: T) {
    // SAFETY: the caller's; a plain store keeps it one instruction.
    unsafe { *word = value }
}

/// Stores a word that need not be aligned.
#[inline(always)]
#[cfg(not(target_arch = "bpf"))]
unsafe fn store<T: Copy>(word: *mut T, value: T) {
    // SAFETY: the caller's.
    unsafe { word.write_unaligned(value) }
}
