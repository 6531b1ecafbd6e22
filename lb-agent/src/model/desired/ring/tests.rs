//! What a ring gives to whom, and what moves when members come and go.

use std::net::Ipv4Addr;
use std::ops::Range;

use proptest::prelude::*;

use super::*;

fn members(weights: &[u32]) -> Vec<Member> {
    let address = |n: u32| (Ipv4Addr::from_bits(0x0a00_0001 + n), 8080).into();
    let member =
        |(n, weight): (u32, &u32)| Member { address: address(n), weight: *weight, percent: 100 };
    (0..).zip(weights).map(member).collect()
}

fn size_of(members: &[Member]) -> u32 {
    size(members.len(), NO_CAP)
}

/// The server in each slot.
fn servers(members: &[Member], size: u32) -> Vec<SocketAddr> {
    let serving: Vec<_> = members.iter().filter(|member| member.percent > 0).collect();
    let ring = ring(members, size);
    ring.into_iter().map(|index| serving[usize::try_from(index).unwrap()].address).collect()
}

fn count(ring: &[SocketAddr], server: SocketAddr) -> u32 {
    ring.iter().filter(|slot| **slot == server).count().try_into().unwrap()
}

/// Slots whose server changed although the one before, which is not `gone`, is still there.
fn moved(before: &[SocketAddr], after: &[SocketAddr], gone: SocketAddr) -> usize {
    before.iter().zip(after).filter(|(old, new)| old != new && **old != gone).count()
}

#[test]
fn sizes_are_primes_in_order() {
    let is_prime = |n: u32| (2..2_048).all(|d| d >= n || !n.is_multiple_of(d));
    assert!(SIZES.into_iter().all(is_prime) && SIZES.is_sorted());
}

#[test]
fn each_member_has_slots_enough_and_all_have_the_same() {
    for n in [1, 2, 3, 10, 100, 600, 5_000] {
        let members = members(&vec![100; n]);
        let size = size_of(&members);
        let mut counts = vec![0; n];
        for member in ring(&members, size) {
            counts[usize::try_from(member).unwrap()] += 1;
        }
        let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
        assert!(*least >= 200 && most - least <= 1, "{n} members: {least} to {most}");
    }
}

/// Of all slots the part, in hundredths of a per cent, that moves without need where a member is removed: for each of
/// those that leave in turn.
fn moved_by_removals(weights: &[u32], leaves: Range<usize>, size: u32) -> Vec<usize> {
    let all = members(weights);
    let before = servers(&all, size);
    let moved_without = |gone: usize| {
        let mut members = all.clone();
        let gone = members.remove(gone).address;
        let after = servers(&members, size);
        moved(&before, &after, gone) * 10_000 / before.len()
    };
    leaves.map(moved_without).collect()
}

#[test]
fn when_one_of_any_number_is_removed_less_than_one_percent_of_the_others_flows_move() {
    let number_and_place =
        [(3, 2), (6, 5), (11, 10), (21, 0), (50, 49), (82, 81), (198, 7), (500, 250)];
    for (n, leaves) in number_and_place {
        let moved = moved_by_removals(&vec![100; n], leaves..leaves + 1, size(n, NO_CAP));
        assert!(moved[0] < 100, "{leaves} of {n}: {moved:?}");
    }
}

#[test]
fn whichever_of_a_hundred_is_removed_less_than_one_percent_of_the_others_flows_move() {
    let unequal: Vec<u32> = (0..100).map(|n| 1 + n * 37 % 100).collect();
    for weights in [vec![100; 100], unequal] {
        let moved = moved_by_removals(&weights, 0..100, size(100, NO_CAP));
        assert!(moved.iter().all(|moved| *moved < 100), "{moved:?}");
    }
}

#[test]
fn a_ring_that_was_cut_moves_more_the_fewer_slots_each_member_has() {
    for (n, cap, at_most) in [
        // 163 slots each.
        (25, 4_093, 300),
        (100, 16_381, 300),
        // 40 each.
        (6, 251, 600),
        (100, 4_093, 600),
        // Ten or four each.
        (6, 61, 2_000),
        (15, 61, 2_000),
        (100, 1_021, 2_000),
    ] {
        let moved = moved_by_removals(&vec![100; n], 0..n, size(n, cap));
        let most = *moved.iter().max().unwrap();
        assert!((100..at_most).contains(&most), "{n} members, {cap} slots: {moved:?}");
    }
}

#[test]
fn a_new_weight_moves_less_than_one_percent_beyond_what_it_gives_or_takes() {
    for (n, old, new) in [(2, 100, 50), (10, 100, 50), (10, 100, 200), (10, 100, 1), (100, 100, 50)]
    {
        let mut members = members(&vec![old; n]);
        let before = servers(&members, size_of(&members));
        members[n / 2].weight = new;
        let address = members[n / 2].address;
        let after = servers(&members, size_of(&members));
        let changed = before.iter().zip(&after).filter(|(old, new)| old != new).count();
        let need = count(&before, address).abs_diff(count(&after, address));
        let beyond = changed - usize::try_from(need).unwrap();
        assert!(beyond * 100 < before.len(), "{n} members, {old} to {new}: {beyond} beyond {need}");
    }
}

#[test]
fn sizes_depend_on_the_number_of_members_and_seldom_change() {
    let sizes = |cap: u32| [1, 2, 15, 198, 199, 794, 795, 20_000].map(|n| size(n, cap));
    let (usual, many, most) = (65_537, 262_139, 1_048_573);
    assert_eq!(sizes(NO_CAP), [usual, usual, usual, usual, many, many, most, most]);
    let capped = [4_093, 4_093, 4_093, 4_093, 4_093, 4_093, 4_093, many];
    assert_eq!(sizes(4_093), capped, "four slots each");
    assert_eq!(sizes(0), [61, 61, 61, 1_021, 1_021, 4_093, 4_093, many]);
}

#[test]
fn however_light_a_member_is_it_has_a_slot() {
    let members = members(&[65_535, 1, 2, 65_535]);
    let ring = servers(&members, 61);
    let counts: Vec<u32> = members.iter().map(|member| count(&ring, member.address)).collect();
    assert_eq!(counts, [30, 1, 1, 29]);
}

#[test]
fn a_ring_without_anybody_who_serves_is_empty() {
    assert_eq!(ring(&[], 251), Vec::<u32>::new());
    let mut members = members(&[1, 1]);
    for member in &mut members {
        member.percent = 0;
    }
    assert_eq!(ring(&members, 251), Vec::<u32>::new());
}

#[test]
fn a_member_that_starts_slowly_has_its_part_and_the_others_theirs() {
    let mut members = members(&[100; 10]);
    let size = size_of(&members);
    let before = servers(&members, size);
    members[3].percent = 50;
    let after = servers(&members, size);
    let slow = members[3].address;
    assert_eq!(moved(&before, &after, slow), 0);
    let counts: Vec<u32> = members.iter().map(|member| count(&after, member.address)).collect();
    let others = &counts[4..];
    let (least, most) = (others.iter().min().unwrap(), others.iter().max().unwrap());
    assert!(most - least <= 2 && (counts[3] * 2).abs_diff(*most) <= 4, "{counts:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_ring_is_full_and_follows_the_weights(
        weights in prop::collection::vec(1u32..=100, 1..=30),
    ) {
        let members = members(&weights);
        let size = size_of(&members);
        let ring = servers(&members, size);
        prop_assert_eq!(ring.len(), usize::try_from(size).unwrap());
        let sum: u32 = weights.iter().sum();
        for member in &members {
            let wanted = f64::from(member.weight) / f64::from(sum) * f64::from(size);
            let has = f64::from(count(&ring, member.address));
            prop_assert!((has - wanted).abs() <= 3.0, "{has} slots for {wanted}");
        }
    }

    #[test]
    fn only_the_slots_of_those_that_fail_move(
        weights in prop::collection::vec(1u32..=100, 2..=30), failed: prop::sample::Index,
    ) {
        let mut members = members(&weights);
        let size = size_of(&members);
        let before = servers(&members, size);
        let failed = failed.index(members.len());
        members[failed].percent = 0;
        let gone = members[failed].address;
        let after = servers(&members, size);
        prop_assert_eq!((moved(&before, &after, gone), count(&after, gone)), (0, 0));
        prop_assert_eq!(after.len(), before.len());
        members[failed].percent = 100;
        prop_assert_eq!(servers(&members, size), before);
    }

    #[test]
    fn the_order_of_the_members_hardly_matters(n in 2usize..40) {
        let mut members = members(&vec![1; n]);
        let before = servers(&members, 4_093);
        members.reverse();
        let after = servers(&members, 4_093);
        let moved = before.iter().zip(&after).filter(|(old, new)| old != new).count();
        prop_assert!(moved * 4 < before.len(), "{moved}");
    }
}
