//! A patched half against one that was compiled as a whole.

use std::net::IpAddr;
use std::sync::Arc;

use lb_common::layout::firewall::{BIT_WORDS, LongBucket, PAGE};
use proptest::prelude::*;

use super::super::{Content, Image, Order, Patch, Recipe};
use super::*;
use crate::model::firewall::Elements;

/// The maps as patches change them.
struct Maps(Half);

impl Image for Maps {
    fn bits(&self, word: u32) -> u64 {
        self.0.bits[index(word)]
    }

    fn root(&self, place: u32) -> u32 {
        self.0.roots.as_flattened()[usize::try_from(place).unwrap()]
    }

    fn cells(&self, bucket: u32) -> [u64; 8] {
        self.0.cells[usize::try_from(bucket).unwrap()]
    }

    fn long(&self, bucket: u32) -> LongBucket {
        self.0.long[usize::try_from(bucket).unwrap()]
    }
}

impl Maps {
    fn apply(&mut self, patch: &Patch) {
        let Half { bits, roots, fronts, values, cells, nodes, long, .. } = &mut self.0;
        for (place, words) in &patch.bits {
            assert!(*place < 2 * BIT_WORDS / 4);
            write(bits.as_chunks_mut().0, *place, *words);
        }
        patch.alone_bits.iter().for_each(|(place, word)| write(bits, *place, *word));
        patch.roots.iter().for_each(|(place, root)| write(roots.as_flattened_mut(), *place, *root));
        for (place, front) in &patch.fronts {
            fronts.resize(fronts.len().max(index(*place) + 1), [0; 8]);
            values.resize(fronts.len(), [0; PAGE]);
            write(fronts, *place, *front);
        }
        patch.values.iter().for_each(|(place, page)| write(values, *place, *page));
        patch.cells.iter().for_each(|(place, cells_of)| write(cells, *place, *cells_of));
        for (place, node) in &patch.nodes {
            assert_eq!(index(*place), nodes.len());
            nodes.push(*node);
        }
        patch.long.iter().for_each(|(place, bucket)| write(long, *place, *bucket));
    }
}

/// Maps that were made once and patched since, and what they hold.
struct Patched {
    recipe: Recipe,
    compiled: Arc<Compiled>,
    maps: Maps,
}

impl Patched {
    fn of(recipe: Recipe) -> Self {
        let compiled = recipe.compile().unwrap();
        let maps = Maps(compiled.half().unwrap());
        Self { recipe, compiled, maps }
    }

    /// Whether the maps could be patched.
    fn follow(&mut self, after: &Recipe) -> bool {
        let before = Some((self.recipe.clone(), Arc::clone(&self.compiled)));
        let order = Order { recipe: after.clone(), before };
        let Some(patched) = order.compile_difference(&self.maps) else { return false };
        let content = patched.content().unwrap();
        let Content::Patch { patch, .. } = &*content else { panic!("a whole half") };
        self.maps.apply(patch);
        (self.recipe, self.compiled) = (after.clone(), Arc::clone(&patched));
        true
    }

    fn uses(&self, probes: &[IpAddr]) -> Vec<Vec<u32>> {
        uses(&self.compiled, &self.maps.0, probes)
    }

    /// What maps would tell that are made anew.
    fn wanted(&self, probes: &[IpAddr]) -> Vec<Vec<u32>> {
        Self::of(self.recipe.clone()).uses(probes)
    }
}

fn index(place: u32) -> usize {
    usize::try_from(place).unwrap()
}

fn write<T>(entries: &mut [T], place: u32, entry: T) {
    entries[index(place)] = entry;
}

fn recipe(a: &Elements, b: &Elements) -> Recipe {
    let rule =
        |name: &str| Rule { sources: vec![Match::Set(name.to_owned())], ..Rule::any(Action::Drop) };
    let fixed =
        Rule { sources: vec![Match::Prefix(v4(0x0a00_0000, 8))], ..Rule::any(Action::Drop) };
    let rules = vec![rule("a"), rule("b"), fixed];
    let firewall = Firewall { rules, max_prefixes: 256, ..Firewall::default() };
    let sets = [("a".to_owned(), a.clone()), ("b".to_owned(), b.clone())].into();
    Recipe { firewall, sets, names: Names::default() }
}

/// The rules that each of these addresses is a source of.
fn uses(compiled: &Compiled, half: &Half, probes: &[IpAddr]) -> Vec<Vec<u32>> {
    let host = of_half(compiled.head.size, compiled.head.word, half.clone());
    let classes = compiled.basis().unwrap().classes.list();
    let class = |address: &IpAddr| match address {
        IpAddr::V4(address) => class_v4(&host, 0, address.to_bits()),
        IpAddr::V6(address) => {
            let half = |bits: u128| u64::try_from(bits & u128::from(u64::MAX)).unwrap();
            class_v6(&host, 0, half(address.to_bits() >> 64), half(address.to_bits()))
        }
    };
    probes.iter().map(|address| classes[index(class(address))].clone()).collect()
}

/// A prefix in one of few places, so that they overlap.
fn prefix() -> impl Strategy<Value = IpNet> {
    let near = (0..3_u32, 0..4_u32, 0..6_u32, 17..=32_u8)
        .prop_map(|(b, c, d, length)| v4((10 << 24) | (b << 16) | (c << 8) | (d * 51), length));
    let far = (0..3_u128, 0..3_u128, 0..4_u128, 17..=128_u8).prop_map(|(a, b, c, length)| {
        v6((0x2001 << 112) | (a << 96) | (b << 64) | (c << 60) | (b * c), length)
    });
    let local = (0..4_u128, 8..=128_u8).prop_map(|(a, length)| v6((0xfd00 << 112) | a, length));
    let wide = (8..=20_u8).prop_map(|length| v4(0x0a01_0000, length));
    prop_oneof![4 => near, 4 => far, 1 => local, 1 => wide].prop_map(|prefix| prefix.trunc())
}

fn probes(changes: &[(bool, bool, IpNet)], all: &[&Elements]) -> Vec<IpAddr> {
    let prefixes = changes.iter().map(|(.., prefix)| *prefix);
    let prefixes = prefixes.chain(all.iter().flat_map(|set| set.iter()));
    let mut probes: Vec<IpAddr> =
        prefixes.flat_map(|prefix| [prefix.network(), prefix.broadcast()]).collect();
    let beside: Vec<IpAddr> = probes
        .iter()
        .map(|address| match address {
            IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits() ^ 1).into(),
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() ^ 1).into(),
        })
        .collect();
    probes.extend(beside);
    probes
}

proptest! {
    // Each makes some MiB of maps.
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn patches_lead_where_a_whole_would(
        lists in [prop::collection::vec(prefix(), 0..60), prop::collection::vec(prefix(), 0..20)],
        changes in prop::collection::vec((any::<bool>(), any::<bool>(), prefix()), 1..12),
    ) {
        let [mut a, mut b] = lists.map(|list| list.into_iter().collect::<Elements>());
        let mut patched = Patched::of(recipe(&a, &b));
        for (of_a, adds, prefix) in &changes {
            let set = if *of_a { &mut a } else { &mut b };
            // What is there already is deleted as often as not.
            let target = set.iter().next().filter(|_| !adds).unwrap_or(*prefix);
            if !set.delete(target) {
                set.add(target);
            }
            let after = recipe(&a, &b);
            if !patched.follow(&after) {
                patched = Patched::of(after);
            }
        }
        let probes = probes(&changes, &[&a, &b]);
        prop_assert_eq!(patched.uses(&probes), patched.wanted(&probes));
    }
}

#[test]
fn a_long_prefix_is_found_before_while_and_after_another_begins_as_it_does() {
    let [one, other] =
        [(1, 64), (2, 63)].map(|(n, length)| v6((0x2001 << 112) | (n << 64), length));
    let [mut set, none] = [[one, other].into_iter().collect(), Elements::default()];
    let mut patched = Patched::of(recipe(&set, &none));
    assert_eq!(patched.maps.0.nodes.len(), 2);
    for change in [Elements::delete, Elements::add, Elements::delete] {
        change(&mut set, other);
        assert!(patched.follow(&recipe(&set, &none)), "made anew");
        let probes = probes(&[(true, true, other)], &[&set]);
        assert_eq!(patched.uses(&probes), patched.wanted(&probes), "{set:?}");
    }
}

#[test]
fn one_prefix_more_or_less_is_a_patch_of_few_entries() {
    let none = Elements::default();
    let mut set: Elements = (0..2_000).map(|n| v4(0x0a00_0000 + n * 999, 32)).collect();
    let before = Recipe {
        firewall: Firewall { max_prefixes: 3_000, ..recipe(&none, &none).firewall },
        ..recipe(&set, &none)
    };
    let compiled = before.compile().unwrap();
    let maps = Maps(compiled.half().unwrap());
    set.add(v4(0x0aff_0201, 32));
    set.delete(v4(0x0a00_0000, 32));
    let after = Recipe { sets: recipe(&set, &none).sets, ..before.clone() };
    let order = Order { recipe: after, before: Some((before, compiled)) };
    let patched = order.compile_difference(&maps).unwrap();
    let content = patched.content().unwrap();
    let Content::Patch { patch, .. } = &*content else { panic!("a whole half") };
    assert_eq!((patch.roots.len(), patch.bits.len(), patch.cells.len()), (2, 2, 2));
    assert_eq!((patch.nodes.len(), patch.long.len()), (0, 0));
}
