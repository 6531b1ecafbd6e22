//! What was compiled, on its way to the maps. Afterwards only what tells it from others stays: it may be 100 MiB.

use std::sync::{Arc, Mutex, PoisonError};

use lb_common::layout::firewall::{Firewall as Wire, Front, LongBucket, Node, PAGE, Row};
use lb_common::layout::limit::Limit;
use zerocopy::{Immutable, IntoBytes};

use super::Size;
use super::patch::{Basis, Patch};

/// Rules that are in force, or are to be.
#[derive(Debug)]
pub struct Compiled {
    /// Tells what they are from other rules.
    pub id: u64,
    /// What is not in the maps' halves.
    pub head: Head,
    content: Mutex<Option<Arc<Content>>>,
    basis: Option<Basis>,
}

/// What there is but the halves of maps.
#[derive(Clone, Debug)]
pub struct Head {
    /// The size of the maps that it was made for.
    pub size: Size,
    /// Without the bit of the half.
    pub word: u64,
    /// Rows by name of the interface; the first is that of those that no rule names.
    pub links: Vec<(Option<String>, u32)>,
    /// The bits by which sources are told apart whose open flows are limited; zeros: nobody asks.
    pub source_masks: [u64; 3],
}

/// What a half of the maps is to hold.
#[derive(Debug)]
pub enum Content {
    /// All of it.
    Half(Half),
    /// What differs from the rules with the id `base`.
    Patch {
        /// They have to be in force.
        base: u64,
        /// What differs.
        patch: Patch,
    },
}

/// What a half of the firewall's maps holds; no entries behind these are read.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "see lb_common::map")]
pub struct Half {
    pub bits: Vec<u64>,
    pub roots: Vec<[u32; PAGE]>,
    pub fronts: Vec<Front>,
    pub values: Vec<[u16; PAGE]>,
    pub cells: Vec<[u64; 8]>,
    pub nodes: Vec<Node>,
    pub long: Vec<LongBucket>,
    pub rows: Vec<Row>,
    pub ports: Vec<[u16; PAGE]>,
    pub kinds: Vec<[u16; PAGE]>,
    pub services: Vec<[u32; PAGE]>,
    pub rules: Vec<u32>,
    pub asked: Vec<u64>,
    pub outcomes: Vec<[u32; PAGE]>,
    pub limits: Vec<Limit>,
}

impl Compiled {
    /// No firewall: every packet goes on.
    #[must_use]
    pub fn off() -> Self {
        let head = Head { size: Size::none(), word: 0, links: Vec::new(), source_masks: [0; 3] };
        Self { id: 0, head, content: held(Content::Half(Half::default())), basis: None }
    }

    pub(super) fn whole(head: Head, half: Half, basis: Basis) -> Self {
        let id = half.digest(head.digest());
        Self { id, head, content: held(Content::Half(half)), basis: Some(basis) }
    }

    /// The same but for what is patched.
    pub(super) fn patched(&self, patch: Patch, basis: Basis) -> Self {
        let id = patch.digest(self.id);
        let content = held(Content::Patch { base: self.id, patch });
        Self { id, head: self.head.clone(), content, basis: Some(basis) }
    }

    /// Whether there is a firewall.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.head.word & Wire::ON != 0
    }

    /// What the maps are to hold; `None`: they had it, and it was let go of.
    #[must_use]
    pub fn content(&self) -> Option<Arc<Content>> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All of what a half is to hold, if it is there.
    #[must_use]
    pub fn half(&self) -> Option<Half> {
        match &*self.content()? {
            Content::Half(half) => Some(half.clone()),
            Content::Patch { .. } => None,
        }
    }

    /// Lets go of what the maps hold by now.
    pub fn forget_content(&self) {
        *self.content.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(super) fn basis(&self) -> Option<&Basis> {
        self.basis.as_ref()
    }
}

/// Whether they are the same rules.
impl PartialEq for Compiled {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Compiled {}

fn held(content: Content) -> Mutex<Option<Arc<Content>>> {
    Mutex::new(Some(Arc::new(content)))
}

impl Head {
    fn digest(&self) -> u64 {
        let Self { size, word, links, source_masks } = self;
        let sizes = [size.chunks, size.cell_buckets, size.long_buckets];
        let digest = mixed(mixed(mixed(*word, &sizes), &[links.len()]), source_masks);
        links.iter().fold(digest, |digest, (name, row)| {
            mixed(mixed(digest, name.as_deref().unwrap_or_default().as_bytes()), &[*row])
        })
    }
}

impl Half {
    fn digest(&self, from: u64) -> u64 {
        let digest = mixed(mixed(from, &self.bits), &self.roots);
        let digest = mixed(mixed(mixed(digest, &self.fronts), &self.values), &self.cells);
        let digest = mixed(mixed(mixed(digest, &self.nodes), &self.long), &self.rows);
        let digest = mixed(mixed(mixed(digest, &self.ports), &self.kinds), &self.services);
        let digest = mixed(mixed(mixed(digest, &self.rules), &self.asked), &self.outcomes);
        mixed(digest, &self.limits)
    }
}

impl Patch {
    fn digest(&self, from: u64) -> u64 {
        fn of<T: Copy + IntoBytes + Immutable>(
            from: u64,
            entries: &std::collections::BTreeMap<u32, T>,
        ) -> u64 {
            let (places, entries): (Vec<u32>, Vec<T>) =
                entries.iter().map(|(place, entry)| (*place, *entry)).unzip();
            mixed(mixed(from, &places), &entries)
        }
        let digest = of(of(of(from, &self.bits), &self.alone_bits), &self.roots);
        let digest = of(of(of(digest, &self.fronts), &self.values), &self.cells);
        of(of(digest, &self.nodes), &self.long)
    }
}

/// Takes bytes and their number into a digest.
fn mixed<T: IntoBytes + Immutable>(from: u64, entries: &[T]) -> u64 {
    let (words, rest) = entries.as_bytes().as_chunks();
    let rest = rest.iter().map(|byte| u64::from(*byte));
    let words = words.iter().map(|word| u64::from_ne_bytes(*word)).chain(rest);
    let length = u64::try_from(entries.len()).unwrap_or(u64::MAX);
    words.chain([length]).fold(from, |digest, word| {
        (digest.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    })
}
