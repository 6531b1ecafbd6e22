//! A cell of the flow table: what the balancer remembers of a flow, in one word.
//!
//! ```text
//! 63        39 38          37           36 35       24 23           4     3 2       0
//! | tag (25)  | generation  | translated  | age (12) | backend (20)  | reply | state  |
//! ```
//!
//! So all that makes a packet's cell as fresh as can be ([`Cell::is_as_fresh_as`]) is one comparison. In the layout
//! [`before`], age and backend stood the other way round.
//!
//! A cell is only ever read and written whole, by a 64-bit compare-and-swap from the value read. An empty
//! cell is zero. The generation is that of the rules which accepted the flow: a flow of another one is to be
//! looked at again. `translated` is set where sequence numbers are rewritten, `reply` in the cell of the
//! direction from backend to client.
#![expect(clippy::as_conversions, reason = "fields of a word, in const functions")]

pub mod before;

/// How many bits of the flow hash a cell keeps.
pub const TAG_BITS: u32 = 25;

/// Length of a tick: 2^32 ns of the monotonic clock, 4.295 s.
///
/// With 12 bits of age, half of the wrap is 2 h 26 min, which is the longest idle timeout.
pub const TICK_SHIFT: u32 = 32;

/// Longest idle timeout in ticks: half of the wrap of the age.
pub const MAX_TIMEOUT_TICKS: u16 = 2_047;

const AGE_MASK: u64 = 0xfff;
const BACKEND_MASK: u64 = 0xf_ffff;
const REPLY: u64 = 8;
/// Where age and backend stand.
const AT: before::Shifts =
    if cfg!(feature = "layout-before") { before::SIX } else { before::SEVEN };
const GENERATION_SHIFT: u32 = 37;
const GENERATION_MASK: u64 = 3;
const TRANSLATED: u64 = 1 << 36;
/// The highest bit of the backend, which no id has: the cell is not to be found.
const MOVING: u64 = 1 << (AT.backend + 19);
const _: () = assert!(crate::MAX_BACKENDS as u64 <= MOVING >> AT.backend);

/// Where a flow stands. The numbers index [`Settings::timeouts`](crate::layout::Settings::timeouts).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// TCP: the client's SYN was forwarded.
    Syn = 1,
    /// TCP, in reply cells: the backend has answered.
    SynAck = 2,
    /// TCP: both sides have been heard after the SYN.
    Established = 3,
    /// TCP: this cell's side has sent a FIN, the other side has not.
    HalfClosed = 4,
    /// TCP: both sides have sent a FIN, or one a RST.
    Closing = 5,
    /// UDP.
    Udp = 6,
}

impl State {
    /// The state with this number, if there is one.
    #[must_use]
    #[inline(always)]
    pub const fn from_number(number: u64) -> Option<Self> {
        Some(match number {
            1 => Self::Syn,
            2 => Self::SynAck,
            3 => Self::Established,
            4 => Self::HalfClosed,
            5 => Self::Closing,
            6 => Self::Udp,
            _ => return None,
        })
    }
}

/// The word of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell(pub u64);

impl Cell {
    /// A cell that holds no flow.
    pub const EMPTY: Self = Self(0);

    /// Packs a cell; `tag` and `tick` are cut to their width.
    #[must_use]
    #[inline(always)]
    pub const fn new(tag: u64, backend: u32, tick: u64, state: State, reply: bool) -> Self {
        let reply = if reply { REPLY } else { 0 };
        Self(
            (tag << (64 - TAG_BITS))
                | ((backend as u64 & BACKEND_MASK) << AT.backend)
                | ((tick & AGE_MASK) << AT.age)
                | reply
                | state as u64,
        )
    }

    /// The same flow, accepted by the rules of this generation; cut to its width.
    #[must_use]
    #[inline(always)]
    pub const fn under(self, generation: u16) -> Self {
        let others = self.0 & !(GENERATION_MASK << GENERATION_SHIFT);
        Self(others | ((generation as u64 & GENERATION_MASK) << GENERATION_SHIFT))
    }

    /// The generation of the rules that accepted the flow.
    #[must_use]
    #[inline(always)]
    pub const fn generation(self) -> u16 {
        ((self.0 >> GENERATION_SHIFT) & GENERATION_MASK) as u16
    }

    /// The same flow, with sequence numbers that are rewritten or not.
    #[must_use]
    #[inline(always)]
    pub const fn translated(self, is_translated: bool) -> Self {
        if is_translated { Self(self.0 | TRANSLATED) } else { Self(self.0 & !TRANSLATED) }
    }

    /// Whether sequence numbers of the flow are rewritten.
    #[must_use]
    #[inline(always)]
    pub const fn is_translated(self) -> bool {
        self.0 & TRANSLATED != 0
    }

    /// Whether two states of a cell differ in more than its age and the generation of the rules.
    #[must_use]
    #[inline(always)]
    pub const fn is_news_to(self, other: Self) -> bool {
        (self.0 ^ other.0) & !((AGE_MASK << AT.age) | (GENERATION_MASK << GENERATION_SHIFT)) != 0
    }

    /// Whether a flow has this one's tag and generation, was seen in the same tick, and is neither translated nor
    /// moving; with nothing said of what is not so.
    #[must_use]
    #[inline(always)]
    pub const fn is_as_fresh_as(self, other: Self) -> bool {
        const LOWEST: u32 = GENERATION_SHIFT;
        let mask = (u64::MAX << LOWEST) | TRANSLATED | MOVING | (AGE_MASK << AT.age);
        (self.0 ^ other.0) & mask == 0
    }

    /// Whether no flow is held.
    #[must_use]
    #[inline(always)]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The bits of the flow hash.
    #[must_use]
    #[inline(always)]
    pub const fn tag(self) -> u64 {
        self.0 >> (64 - TAG_BITS)
    }

    /// The backend id.
    #[must_use]
    #[inline(always)]
    pub const fn backend(self) -> u32 {
        ((self.0 >> AT.backend) & BACKEND_MASK) as u32
    }

    /// Number of the state; 0 where the cell is empty.
    #[must_use]
    #[inline(always)]
    pub const fn state_number(self) -> u64 {
        self.0 & 7
    }

    /// The state; `None` where the cell is empty.
    #[must_use]
    #[inline(always)]
    pub const fn state(self) -> Option<State> {
        State::from_number(self.state_number())
    }

    /// Whether a flow is held that has not ended.
    #[must_use]
    #[inline(always)]
    pub const fn is_open(self) -> bool {
        !matches!(self.state(), None | Some(State::Closing))
    }

    /// Whether the cell is of the direction from backend to client.
    #[must_use]
    #[inline(always)]
    pub const fn is_reply(self) -> bool {
        self.0 & REPLY != 0
    }

    /// Ticks since the last packet.
    #[must_use]
    #[inline(always)]
    pub const fn idle_ticks(self, tick: u64) -> u64 {
        tick.wrapping_sub(self.0 >> AT.age) & AGE_MASK
    }

    /// Whether the flow has been idle for longer than the timeout of its state.
    ///
    /// Reckoned from the next tick, in which another CPU may already have seen the flow.
    #[must_use]
    #[inline(always)]
    #[expect(clippy::indexing_slicing, reason = "three bits index eight timeouts")]
    pub const fn is_expired(self, tick: u64, timeouts: &[u16; 8]) -> bool {
        self.idle_ticks(tick.wrapping_add(1)) > timeouts[(self.0 & 7) as usize] as u64 + 1
    }

    /// The same in a place that a flow moves to, until the old place points there.
    #[must_use]
    #[inline(always)]
    pub const fn arriving(self) -> Self {
        Self(self.0 | MOVING)
    }

    /// The same when the old place points there.
    #[must_use]
    #[inline(always)]
    pub const fn arrived(self) -> Self {
        Self(self.0 & !MOVING)
    }

    /// Whether a flow is on its way to this place, or has left it.
    #[must_use]
    #[inline(always)]
    pub const fn is_moving(self) -> bool {
        self.0 & MOVING != 0
    }

    /// Whether a flow is on its way to this place.
    #[must_use]
    #[inline(always)]
    pub const fn is_arriving(self) -> bool {
        self.is_moving() && self.state_number() != 0
    }

    /// What stays where a flow was, when it has moved to this of the sixteen positions of its buckets in the
    /// other table. It counts as expired, so that its place is free.
    #[must_use]
    #[inline(always)]
    pub const fn gone(self, position: u64, tick: u64) -> Self {
        let age = tick.wrapping_sub(MAX_TIMEOUT_TICKS as u64) & AGE_MASK;
        let place = ((position & 0xf) << AT.backend) | (age << AT.age);
        Self((self.tag() << (64 - TAG_BITS)) | MOVING | place)
    }

    /// The position that the flow moved to, if it did.
    #[must_use]
    #[inline(always)]
    pub const fn gone_to(self) -> Option<u64> {
        if self.is_moving() && self.state_number() == 0 {
            Some((self.0 >> AT.backend) & 0xf)
        } else {
            None
        }
    }

    /// The same flow, seen at `tick` in `state`.
    #[must_use]
    #[inline(always)]
    pub const fn seen(self, tick: u64, state: State) -> Self {
        Self((self.0 & !((AGE_MASK << AT.age) | 7)) | ((tick & AGE_MASK) << AT.age) | state as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_gives_back_what_was_packed() {
        let cell = Cell::new(0x1bc_def1, 0xf_fffe, 0x1234_5678, State::Udp, true);
        assert_eq!(cell.tag(), 0x1bc_def1);
        assert_eq!(cell.backend(), 0xf_fffe);
        assert_eq!(cell.state(), Some(State::Udp));
        assert!(cell.is_reply() && !cell.is_translated());
        assert_eq!((cell.idle_ticks(0x1234_5679), cell.generation()), (1, 0));
    }

    #[test]
    fn a_generation_touches_nothing_else() {
        let cell = Cell::new(u64::MAX, u32::MAX, u64::MAX, State::Udp, true).under(3);
        assert_eq!(cell.generation(), 3);
        assert_eq!(cell.under(6), cell.under(2));
        assert_eq!((cell.under(0).0 ^ cell.0), 3 << GENERATION_SHIFT);
        assert!(!cell.is_translated() && Cell(cell.0 | TRANSLATED).is_translated());
    }

    #[test]
    fn neither_age_nor_generation_is_news() {
        let cell = Cell::new(5, 6, 7, State::Syn, true);
        assert!(!cell.is_news_to(cell.seen(9, State::Syn).under(2)));
        assert!(cell.is_news_to(cell.seen(7, State::SynAck)) && cell.is_news_to(Cell::EMPTY));
        assert!(cell.is_news_to(Cell::new(5, 7, 7, State::Syn, true)));
        assert!(cell.translated(true).is_translated() && cell.translated(true).is_news_to(cell));
    }

    #[test]
    fn age_wraps_without_a_jump() {
        let cell = Cell::new(1, 1, 0xfff, State::Syn, false);
        assert_eq!(cell.idle_ticks(0x1001), 2);
    }

    #[test]
    fn a_seen_cell_keeps_flow_and_direction() {
        let cell = Cell::new(5, 6, 7, State::Syn, true).under(2);
        let seen = Cell::new(5, 6, 9, State::Established, true).under(2);
        assert_eq!(cell.seen(9, State::Established), seen);
    }

    #[test]
    fn a_cell_that_moves_keeps_what_it_holds_and_leaves_the_way_to_it() {
        let cell = Cell::new(5, crate::MAX_BACKENDS - 1, 7, State::Established, true);
        assert!(cell.arriving().is_arriving() && !cell.is_arriving());
        assert!(cell.arriving().backend() >= crate::MAX_BACKENDS);
        assert_eq!(cell.arriving().arrived(), cell);
        let gone = cell.gone(13, 7);
        assert_eq!((gone.gone_to(), gone.tag(), gone.state()), (Some(13), 5, None));
        assert!(!gone.is_arriving() && gone.is_expired(7, &[0; 8]));
        assert_eq!((cell.gone_to(), cell.arriving().gone_to()), (None, None));
    }

    #[test]
    fn a_flow_expires_after_its_timeout_and_not_at_it() {
        let cell = Cell::new(5, 6, 7, State::Udp, false);
        let timeouts = [0, 0, 0, 0, 0, 0, 3, 0];
        assert!(!cell.is_expired(10, &timeouts));
        assert!(cell.is_expired(11, &timeouts));
    }

    #[test]
    fn a_flow_that_another_cpu_saw_in_the_next_tick_is_alive() {
        let cell = Cell::new(5, 6, 8, State::Udp, false);
        assert!(!cell.is_expired(7, &[0; 8]));
    }
}
