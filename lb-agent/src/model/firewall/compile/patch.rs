//! From the firewall in force to one that differs from it in elements of sets alone: of its maps, what is to be changed.
//!
//! What an address leads to depends on the prefixes that have its first 16 bits, or fewer, in common with it. So the
//! rest stays as it is, and the cost depends on the changes, not on how many prefixes there are.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use lb_common::layout::firewall::{
    Firewall as Wire, Front, LongBucket, Node, PAGE, ROOT_SHIFT, root,
};

use super::address::{Labels, add, uses};
use super::class::{Bits, Classes, Prefix, Uses};
use super::edit::{Bucket, Edited};
use super::long::{self, Long, Nodes};
use super::plane::{Chunk, group_bits};
use super::row::Rules;
use super::{Match, Recipe, Sets, Size};

/// Most prefixes that may differ.
const MOST: usize = 1_000;

/// What cannot be told from the maps of the firewall in force.
#[derive(Clone, Debug)]
pub struct Basis {
    pub(super) classes: Classes,
    pub(super) nodes: Nodes,
    /// Chunks that were ever used, the first of them included.
    pub(super) n_chunks: u32,
    /// Those that are used no more.
    pub(super) free: Vec<u32>,
    /// Buckets of cells that are used.
    pub(super) cell_buckets: u32,
    /// Bits of the word that tell of which families there are prefixes.
    pub(super) families: u64,
}

/// What packets are judged by.
pub trait Image {
    /// A word of bits.
    fn bits(&self, word: u32) -> u64;
    /// A root, by plane and the first 16 bits.
    fn root(&self, place: u32) -> u32;
    /// A bucket of cells.
    fn cells(&self, bucket: u32) -> [u64; 8];
    /// A bucket of long prefixes.
    fn long(&self, bucket: u32) -> LongBucket;
}

/// Entries of the maps that change, by their places in a half.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "see lb_common::map")]
pub struct Patch {
    /// By plane and the first 16 bits: four words.
    pub bits: BTreeMap<u32, [u64; 4]>,
    /// Words. No bit is taken away: another prefix may have it too.
    pub alone_bits: BTreeMap<u32, u64>,
    pub roots: BTreeMap<u32, u32>,
    pub fronts: BTreeMap<u32, Front>,
    pub values: BTreeMap<u32, [u16; PAGE]>,
    pub cells: BTreeMap<u32, [u64; 8]>,
    pub nodes: BTreeMap<u32, Node>,
    pub long: BTreeMap<u32, LongBucket>,
}

/// What is to be changed of the maps for `after`, where they hold what `before` says; `None`: they are to be made anew.
pub(super) fn patch(
    before: &Recipe,
    after: &Recipe,
    basis: &Basis,
    image: &impl Image,
) -> Option<(Patch, Basis)> {
    if (&before.firewall, &before.names) != (&after.firewall, &after.names) {
        return None;
    }
    let rules = Rules::new(&after.firewall, &after.names).ok()?;
    let mut labels = Labels::default();
    let places: Vec<(&Match, u32)> =
        uses(&rules).into_iter().map(|(place, uses)| (place, labels.number(uses))).collect();
    let changed = changed(&places, &before.sets, &after.sets)?;
    let mut patcher = Patcher {
        labels: &labels.list,
        places: &places,
        sets: [&before.sets, &after.sets],
        size: after.size(),
        basis: basis.clone(),
        patch: Patch::default(),
    };
    let size = patcher.size;
    let mut cells = Edited::new(basis.cell_buckets, |bucket| image.cells(bucket));
    let mut buckets = Edited::new(size.long_buckets, |bucket| image.long(bucket));
    let groups: BTreeSet<(u32, u32)> = changed.iter().map(group_of).collect::<Option<_>>()?;
    for (plane, group) in groups {
        let family = if plane == 0 { Wire::HAS_V4 } else { Wire::HAS_V6 };
        if basis.families & family == 0 {
            return None;
        }
        let [old, new] = if plane == 0 {
            let all = IpNet::V4(Ipv4Net::new((group << 16).into(), 16).ok()?);
            patcher.classified(all, |(v4, _)| v4)?
        } else {
            let all = IpNet::V6(Ipv6Net::new((u128::from(group) << 112).into(), 16).ok()?);
            let classified = patcher.classified(all, |(_, v6)| v6)?;
            let [(old, old_alone), (new, new_alone)] =
                classified.map(|prefixes| long::divide(&prefixes));
            for (word, bits) in long::alone_bits(&new_alone) {
                *patcher.patch.alone_bits.entry(word).or_insert_with(|| image.bits(word)) |= bits;
            }
            let entries =
                |prefixes: &Long, alone| long::below_nodes(prefixes).chain(alone).collect();
            change(&mut buckets, &entries(&old, old_alone), &entries(&new, new_alone))?;
            [patcher.basis.nodes.plane(&old).ok()?, patcher.basis.nodes.plane(&new).ok()?]
        };
        let place = (plane << 16) | group;
        let cells_of = patcher.chunk(place, image.root(place), [&old, &new])?;
        change(&mut cells, &cells_of[0], &cells_of[1])?;
    }
    patcher.new_nodes(basis.nodes.list.len());
    let Patcher { patch, basis, .. } = patcher;
    Some((Patch { cells: cells.changed, long: buckets.changed, ..patch }, basis))
}

/// The prefixes in which sets differ that rules or lists name.
fn changed(places: &[(&Match, u32)], before: &Sets, after: &Sets) -> Option<Vec<IpNet>> {
    let mut changed = Vec::new();
    for (place, _) in places {
        let Match::Set(name) = place else { continue };
        let (old, new) = (before.get(name)?, after.get(name)?);
        if !old.shares_list_with(new) {
            return None;
        }
        changed.extend(new.not_in(old).chain(old.not_in(new)).take(MOST + 1));
    }
    (changed.len() <= MOST).then_some(changed)
}

/// Plane and first 16 bits; shorter prefixes have none.
fn group_of(prefix: &IpNet) -> Option<(u32, u32)> {
    let group = match prefix {
        IpNet::V4(net) => (0, net.network().to_bits() >> 16),
        IpNet::V6(net) => (1, u32::try_from(net.network().to_bits() >> 112).ok()?),
    };
    (prefix.prefix_len() > 16).then_some(group)
}

type Plane = Vec<Prefix<u32, u16>>;
/// Prefixes of both families with their labels.
type Gathered = (Vec<Prefix<u32, u32>>, Vec<Prefix<u128, u32>>);

struct Patcher<'a> {
    labels: &'a [Uses],
    places: &'a [(&'a Match, u32)],
    sets: [&'a Sets; 2],
    size: Size,
    basis: Basis,
    patch: Patch,
}

impl Patcher<'_> {
    /// The prefixes with these first 16 bits, and those that hold these.
    fn gather(&self, sets: &Sets, all: IpNet) -> Gathered {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (place, label) in self.places {
            match place {
                Match::Prefix(prefix) => {
                    if all.contains(prefix) || prefix.contains(&all) {
                        add(*prefix, *label, &mut v4, &mut v6);
                    }
                }
                Match::Set(name) => {
                    let near = sets.get(name).into_iter().flat_map(|set| set.around(all));
                    near.for_each(|prefix| add(prefix, *label, &mut v4, &mut v6));
                }
            }
        }
        (v4, v6)
    }

    /// The prefixes around a group with their classes, before and after.
    fn classified<B: Bits>(
        &mut self,
        all: IpNet,
        of_family: impl Fn(Gathered) -> Vec<Prefix<B, u32>>,
    ) -> Option<[Vec<Prefix<B, u16>>; 2]> {
        let [old, new] = self.sets.map(|sets| of_family(self.gather(sets, all)));
        let classes = &mut self.basis.classes;
        let n_classes = classes.list().len();
        let old = classes.classify(old, self.labels).ok()?;
        let new = classes.classify(new, self.labels).ok()?;
        // Another class would need rows.
        (classes.list().len() == n_classes).then_some([old, new])
    }

    /// Changes bits, root and chunk; returns the cells before and after.
    fn chunk(
        &mut self,
        place: u32,
        old_root: u32,
        prefixes: [&Plane; 2],
    ) -> Option<[BTreeMap<u64, u16>; 2]> {
        let [old, new] = prefixes.map(|prefixes| {
            let (outer, longer): (Plane, Plane) =
                prefixes.iter().copied().partition(|prefix| prefix.length <= 16);
            let outer = outer.last().map_or(0, |outer| outer.value);
            Chunk::of(place >> 16, outer, &longer)
        });
        let number = old_root >> ROOT_SHIFT;
        let found = if new.is_plain() {
            self.basis.free.extend((number != 0).then_some(number));
            0
        } else if number != 0 {
            number
        } else {
            self.new_chunk()?
        };
        if found != 0 {
            self.patch.fronts.insert(found, new.front());
            self.patch.values.insert(found, new.values);
        }
        self.patch.roots.insert(place, root(found, new.common));
        self.patch.bits.insert(place, group_bits(place & 0xffff, prefixes[1]));
        Some([old, new].map(|chunk| chunk.cells.into_iter().collect()))
    }

    fn new_chunk(&mut self) -> Option<u32> {
        if let Some(free) = self.basis.free.pop() {
            return Some(free);
        }
        let new = self.basis.n_chunks;
        self.basis.n_chunks += 1;
        (new < self.size.chunks).then_some(new)
    }

    fn new_nodes(&mut self, n_before: usize) {
        let new = (0..).zip(&self.basis.nodes.list).skip(n_before);
        self.patch.nodes = new.map(|(number, node)| (number, *node)).collect();
    }
}

/// Turns the entries before into those after.
fn change<B, F>(
    edited: &mut Edited<F, B>,
    before: &BTreeMap<B::Key, u16>,
    after: &BTreeMap<B::Key, u16>,
) -> Option<()>
where
    B: Bucket<Key: Ord>,
    F: Fn(u32) -> B,
{
    for key in before.keys().filter(|key| !after.contains_key(key)) {
        edited.remove(*key)?;
    }
    for (key, value) in after.iter().filter(|(key, value)| before.get(key) != Some(value)) {
        edited.put(*key, *value)?;
    }
    Some(())
}
