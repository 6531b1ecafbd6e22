//! What the rules need of the maps. See `lb_common::layout::firewall` for what they hold.

use lb_common::layout::firewall::{
    Firewall, Front, LinkKey, LongBucket, MAX_RULES, Node, PAGE, Row,
};
use lb_common::layout::limit::Limit;
use lb_common::layout::{Bucket, Count};

use super::{address, limit, open, rows};
use crate::family::Family;
use crate::flight::Flight;
use crate::tables::Entry;

/// The maps of the firewall, all halves. `None` where there is no firewall, or the half has no such entry.
pub trait Maps: Sized {
    /// What is the same for all packets.
    fn firewall(&self) -> Option<&Firewall>;
    /// By half, plane and first bits of an address.
    fn bits(&self, word: u32) -> Option<u64>;
    /// By half, plane and first byte of an address.
    fn roots(&self, page: u32) -> Option<&[u32; PAGE]>;
    /// By half and chunk.
    fn front(&self, chunk: u32) -> Option<&Front>;
    /// By half and chunk.
    fn values(&self, chunk: u32) -> Option<&[u16; PAGE]>;
    /// By half and hash.
    fn cells(&self, bucket: u32) -> Option<&[u64; 8]>;
    /// By half and value.
    fn node(&self, index: u32) -> Option<&Node>;
    /// By half and hash.
    fn long(&self, bucket: u32) -> Option<&LongBucket>;
    /// By half and number.
    fn row(&self, index: u32) -> Option<&Row>;
    /// By half, direction and higher byte of the port.
    fn port_rows(&self, page: u32) -> Option<&[u16; PAGE]>;
    /// By half and kind.
    fn kind_rows(&self, page: u32) -> Option<&[u16; PAGE]>;
    /// By half and listener id.
    fn services(&self, page: u32) -> Option<&[u32; PAGE]>;
    /// The row of an interface.
    fn link_row(&self, key: &LinkKey) -> Option<u32>;
    /// By half.
    fn rules(&self, half: u32) -> Option<&[u32; MAX_RULES]>;
    /// By half and destination port.
    fn asked(&self, word: u32) -> Option<u64>;
    /// By half and place.
    fn outcomes(&self, page: u32) -> Option<&[u32; PAGE]>;
    /// By half and number.
    fn limit(&self, place: u32) -> Option<&Limit>;
    /// What limits have let go on.
    fn limited(&self, bucket: u32) -> Option<Entry<Bucket>>;
    /// How many flows sources have open.
    fn source_flows(&self, bucket: u32) -> Option<Entry<Bucket>>;
    /// [`super::limit::deciding`] for the packet at hand: the kernel's maps make a function of it that is verified on
    /// its own.
    fn deciding<A: Family>(&self, flight: &mut Flight<A>, half: u32, rows: (u64, u64)) -> u32;
    /// [`super::limit::place`], likewise.
    fn source_place(&self, bucket: u32, tag: u64, now: u64) -> usize {
        limit::place(self, bucket, tag, now)
    }
    /// [`super::open::place_in`], likewise.
    fn open_place(&self, bucket: u32, tag: u64) -> usize {
        open::place_in(self, bucket, tag)
    }
    /// This CPU's counter of a rule.
    fn rule_count(&self, number: u32) -> Option<Entry<Count>>;
    /// [`address::short_value`]: the kernel's maps make a function of it that is verified on its own.
    fn short_value(&self, half: u32, plane: u32, address: u32) -> u32 {
        address::short_value(self, half, plane, address)
    }
    /// [`address::cell`], likewise.
    fn cell(&self, half: u32, key: u64) -> u32 {
        address::cell(self, half, key)
    }
    /// [`rows::first_rule`], likewise.
    fn first_rule(&self, half: u32, addresses_and_ports: u64, others: u64) -> u32 {
        rows::first_rule(self, half, addresses_and_ports, others)
    }
    /// [`address::alone_class`], likewise.
    fn alone_class(&self, half: u32, high: u64, low: u64) -> u32 {
        address::alone_class(self, half, high, low)
    }
    /// [`address::long_class`], likewise.
    fn long_class(&self, half: u32, node: u32, high: u64, low: u64) -> u32 {
        address::long_class(self, half, node, high, low)
    }
}
