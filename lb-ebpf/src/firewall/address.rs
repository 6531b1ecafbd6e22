//! From an address to its class: what all addresses have in common that lie in the same prefixes.
//!
//! The first 32 bits are looked up in a *plane*, one for each family: 24 bits lead to a bit that tells whether
//! there is anything to know, 16 of them to a root, which often tells all of it, and all of them to two bits of a front.
//! What these do not tell lies in cells, found by a hash. The value of the IPv4 plane is the class, that of the IPv6
//! plane a node, from which longer prefixes go on. Before it stand those that are alone in their first 32 bits: these
//! alone lead to the prefix.

use lb_common::layout::firewall::{
    ALONE, ALONE_PLANE, BIT_PLANES, BIT_WORDS, CELL_SHIFT, CELL_SPILLED, FRONT_COMMON, FRONT_NONE,
    FRONT_SINGLES, Firewall, HAS_SINGLES, HAS_SPANS, LONG_PER_BUCKET, LongBucket, ROOT_SHIFT,
    VALUE, alone_mark, cell_key,
};

use super::maps::Maps;
use crate::family::{Family, mix};
use crate::verifier::{at, rolled};

/// The plane of IPv4 addresses.
pub const V4_PLANE: u32 = 0;
/// The plane of the first 32 bits of IPv6 addresses.
pub const V6_PLANE: u32 = 1;

/// The class of an address for the rules of this word.
#[inline(always)]
pub(super) fn class<A: Family, M: Maps>(maps: &M, word: u64, address: A::Address) -> u32 {
    if word & A::HAS_CLASSES == 0 { 0 } else { A::class(maps, Firewall::half(word), address) }
}

/// The class of an IPv4 address, in host order.
#[inline(always)]
pub fn class_v4<M: Maps>(maps: &M, half: u32, address: u32) -> u32 {
    value_of(maps, half, V4_PLANE, address)
}

/// The class of an IPv6 address, in host order.
#[inline(always)]
pub fn class_v6<M: Maps>(maps: &M, half: u32, high: u64, low: u64) -> u32 {
    let (word, mark) = alone_mark(alone_hash(high));
    if bits(maps, half, ALONE_PLANE, word) & mark == mark {
        let class = maps.alone_class(half, high, low);
        if class != 0 {
            return class;
        }
    }
    let node = value_of(maps, half, V6_PLANE, (high >> 32) as u32);
    if node == 0 { 0 } else { maps.long_class(half, node, high, low) }
}

/// The value of an address of 32 bits. Where that needs a search, a function is called.
#[inline(always)]
fn value_of<M: Maps>(maps: &M, half: u32, plane: u32, address: u32) -> u32 {
    match look(maps, half, plane, address) {
        Look::Value(value) => value,
        Look::Cell => maps.cell(half, cell_key(plane, address, 32)),
        Look::Mixed(_) => maps.short_value(half, plane, address),
    }
}

/// A word of a plane's bits.
#[inline(always)]
fn bits<M: Maps>(maps: &M, half: u32, plane: u32, word: u32) -> u64 {
    maps.bits((half * BIT_PLANES + plane) * BIT_WORDS + word).unwrap_or(0)
}

/// What bit, root and front tell of an address.
enum Look {
    Value(u32),
    /// It may have a cell of its own, or else the value 0.
    Cell,
    /// See the values of this chunk.
    Mixed(u32),
}

#[inline(always)]
fn look<M: Maps>(maps: &M, half: u32, plane: u32, address: u32) -> Look {
    if (bits(maps, half, plane, address >> 14) >> ((address >> 8) & 63)) & 1 == 0 {
        return Look::Value(0);
    }
    let plane = half * 2 + plane;
    let page = (plane << 8) | (address >> 24);
    let Some(roots) = maps.roots(page) else { return Look::Value(0) };
    let root = at(roots, (address >> 16) as usize);
    let (chunk, value) = (root >> ROOT_SHIFT, root & u32::from(VALUE));
    let Some(firewall) = maps.firewall().filter(|_| chunk != 0) else { return Look::Value(value) };
    let chunk = half * firewall.chunks + chunk;
    let Some(front) = maps.front(chunk) else { return Look::Value(0) };
    let third = (address >> 8) & 0xff;
    match (at(front, (third >> 5) as usize) >> ((third & 31) * 2)) & 3 {
        FRONT_NONE => Look::Value(0),
        FRONT_COMMON => Look::Value(value),
        FRONT_SINGLES => Look::Cell,
        _ => Look::Mixed(chunk),
    }
}

/// The value of an address of 32 bits.
#[inline(always)]
pub fn short_value<M: Maps>(maps: &M, half: u32, plane: u32, address: u32) -> u32 {
    match look(maps, half, plane, address) {
        Look::Value(value) => value,
        Look::Cell => maps.cell(half, cell_key(plane, address, 32)),
        Look::Mixed(chunk) => mixed(maps, half, plane, address, chunk),
    }
}

#[inline(always)]
fn mixed<M: Maps>(maps: &M, half: u32, plane: u32, address: u32, chunk: u32) -> u32 {
    let Some(values) = maps.values(chunk) else { return 0 };
    let value = at(values, (address >> 8) as usize);
    if value & HAS_SINGLES != 0 {
        let found = maps.cell(half, cell_key(plane, address, 32));
        if found != 0 {
            return found;
        }
    }
    if value & HAS_SPANS != 0 {
        let found = span(maps, half, plane, address);
        if found != 0 {
            return found;
        }
    }
    u32::from(value & VALUE)
}

/// The value of the longest prefix of 25 to 31 bits.
#[inline(always)]
fn span<M: Maps>(maps: &M, half: u32, plane: u32, address: u32) -> u32 {
    let lengths = maps.cell(half, cell_key(plane, address & !0xff, 24));
    for shorter in rolled(7) {
        let length = 31 - shorter as u32;
        if (lengths >> (length - 25)) & 1 != 0 {
            let prefix = address & (u32::MAX << (32 - length));
            let found = maps.cell(half, cell_key(plane, prefix, length));
            if found != 0 {
                return found;
            }
        }
    }
    0
}

/// The first and the second bucket of a hash.
#[inline(always)]
pub fn buckets(hash: u64, mask: u32) -> (u32, u32) {
    let (first, second) = (hash as u32 & mask, (hash >> 32) as u32 & mask);
    (first, if first == second { second ^ 1 } else { second })
}

/// The hash of a [`cell_key`].
#[inline(always)]
pub fn cell_hash(key: u64) -> u64 {
    mix(key)
}

/// The value of a cell; 0 where there is none.
#[inline(always)]
pub fn cell<M: Maps>(maps: &M, half: u32, key: u64) -> u32 {
    let Some(firewall) = maps.firewall() else { return 0 };
    let [of_first, of_second] = firewall.cell_masks;
    let mask = if half == 0 { of_first } else { of_second };
    let base = half * firewall.cell_buckets;
    let (first, second) = buckets(cell_hash(key), mask);
    let Some(bucket) = maps.cells(base + first) else { return 0 };
    let found = within(bucket, key);
    if found != 0 || bucket[0] & CELL_SPILLED == 0 {
        return found;
    }
    let Some(bucket) = maps.cells(base + second) else { return 0 };
    within(bucket, key)
}

#[inline(always)]
fn within(bucket: &[u64; 8], key: u64) -> u32 {
    let mut found = 0;
    for word in bucket {
        // At most one of them has this key.
        if word >> CELL_SHIFT == key {
            found = *word as u32 & 0xffff;
        }
    }
    found
}

/// The class of an IPv6 address below a node.
#[inline(always)]
pub fn long_class<M: Maps>(maps: &M, half: u32, node: u32, high: u64, low: u64) -> u32 {
    let Some(node) = maps.node(half * lb_common::layout::firewall::MAX_NODES + node) else {
        return 0;
    };
    let [mut longest, mut others] = node.lengths;
    for _ in rolled(96) {
        let (length, high, low) = if longest != 0 {
            let shorter = longest.trailing_zeros();
            longest &= longest - 1;
            (128 - shorter, high, low & (u64::MAX << (shorter & 63)))
        } else if others != 0 {
            let shorter = others.trailing_zeros();
            others &= others - 1;
            (64 - shorter, high & (u64::MAX << (shorter & 63)), 0)
        } else {
            break;
        };
        let prefix = [high, low];
        let found = long(maps, half, long_hash(prefix, length), |bucket| {
            within_long(bucket, prefix, length)
        });
        if found != 0 {
            return found;
        }
    }
    node.class as u32
}

/// The hash of a prefix of more than 32 bits.
#[inline(always)]
pub fn long_hash([high, low]: [u64; 2], length: u32) -> u64 {
    mix(high.rotate_left(7) ^ mix(low ^ u64::from(length)))
}

/// The hash of the first 32 bits of an address, of which these are the first 64.
#[inline(always)]
pub fn alone_hash(high: u64) -> u64 {
    mix(high >> 32)
}

/// The class of an IPv6 address by the prefix that is alone in its first 32 bits; 0 where that does not hold it.
#[inline(always)]
pub fn alone_class<M: Maps>(maps: &M, half: u32, high: u64, low: u64) -> u32 {
    long(maps, half, alone_hash(high), |bucket| within_alone(bucket, [high, low]))
}

/// What is found in the buckets of a hash.
#[inline(always)]
fn long<M: Maps>(maps: &M, half: u32, hash: u64, within: impl Fn(&LongBucket) -> u32) -> u32 {
    let Some(firewall) = maps.firewall() else { return 0 };
    let mask = firewall.long_mask;
    let base = half * (mask + 1);
    let (first, second) = buckets(hash, mask);
    let Some(bucket) = maps.long(base + first) else { return 0 };
    let found = within(bucket);
    if found != 0 || bucket.spilled == 0 {
        return found;
    }
    let Some(bucket) = maps.long(base + second) else { return 0 };
    within(bucket)
}

#[inline(always)]
fn within_long(bucket: &LongBucket, [high, low]: [u64; 2], length: u32) -> u32 {
    let mut found = 0;
    for place in 0..LONG_PER_BUCKET {
        let [other_high, other_low] = bucket.prefixes[place];
        let value = bucket.values[place];
        if other_high == high && other_low == low && value >> 16 == length {
            found = value & 0xffff;
        }
    }
    found
}

#[inline(always)]
fn within_alone(bucket: &LongBucket, [high, low]: [u64; 2]) -> u32 {
    let mut found = 0;
    for place in 0..LONG_PER_BUCKET {
        let [other_high, other_low] = bucket.prefixes[place];
        let value = bucket.values[place];
        // At least 33, so this is at most 95.
        let behind = 128 - (value >> 16) % ALONE;
        let mask = u64::MAX << (behind & 63);
        let (mask_high, mask_low) = if behind < 64 { (u64::MAX, mask) } else { (mask, 0) };
        let differs = ((high ^ other_high) & mask_high) | ((low ^ other_low) & mask_low);
        if differs == 0 && (value >> 16) & ALONE != 0 {
            found = value & 0xffff;
        }
    }
    found
}
