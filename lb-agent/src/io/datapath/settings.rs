//! Settings that change while packets pass: the kernel copies them in place, word by word, and a packet may read
//! what is there by half.
//!
//! A word at a time is sound for all but the sources of full NAT, whose number stands apart from them.

use lb_common::layout::Settings;

/// What is to be written, one after the other, so that no packet finds a source that is in neither: the number of
/// sources falls to those that stay before any changes, and rises after.
pub(super) fn steps(before: &Settings, after: &Settings) -> Vec<Settings> {
    let kept = kept(before, after);
    if kept == before.nat_sources && kept == after.nat_sources {
        return vec![*after];
    }
    let fewer = Settings { nat_sources: kept, ..*before };
    vec![fewer, Settings { nat_sources: kept, ..*after }, *after]
}

/// How many sources of each family stay where they are, from the first on; none where the ports change.
fn kept(before: &Settings, after: &Settings) -> [u16; 2] {
    let ports = |of: &Settings| (of.nat_first_port, of.nat_ports);
    if ports(before) != ports(after) {
        return [0; 2];
    }
    let [v4, v6] = [0, 1].map(|family: usize| {
        let number = |of: &Settings| of.nat_sources.get(family).copied().unwrap_or_default();
        number(before).min(number(after))
    });
    [v4.min(equal(&before.nat_v4, &after.nat_v4)), v6.min(equal(&before.nat_v6, &after.nat_v6))]
}

/// How many are equal, from the first on.
fn equal<T: PartialEq>(before: &[T], after: &[T]) -> u16 {
    let same = before.iter().zip(after).take_while(|(before, after)| before == after);
    u16::try_from(same.count()).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use zerocopy::FromZeros;

    use super::*;

    fn settings(v4: &[u32], v6: &[u32], first_port: u16) -> Settings {
        let mut settings = Settings::new_zeroed();
        for (place, source) in settings.nat_v4.iter_mut().zip(v4) {
            *place = *source;
            settings.nat_sources[0] += 1;
        }
        for (place, source) in settings.nat_v6.iter_mut().zip(v6) {
            place[3] = *source;
            settings.nat_sources[1] += 1;
        }
        (settings.nat_first_port, settings.nat_ports) = (first_port, 100);
        settings
    }

    /// The numbers of sources in each step.
    fn numbers(before: &Settings, after: &Settings) -> Vec<[u16; 2]> {
        let steps = steps(before, after);
        assert_eq!(steps.last(), Some(after));
        steps.iter().map(|step| step.nat_sources).collect()
    }

    #[test]
    fn what_is_no_source_is_written_at_once() {
        let before = settings(&[1, 2], &[3], 20_000);
        let after = Settings { timeouts: [9; 8], ..before };
        assert_eq!(numbers(&before, &after), [[2, 1]]);
    }

    #[test]
    fn sources_that_stay_are_given_all_the_time_and_others_only_when_they_are_written() {
        let before = settings(&[1, 2, 3], &[4], 20_000);
        let after = settings(&[1, 9], &[4, 5], 20_000);
        assert_eq!(numbers(&before, &after), [[1, 1], [1, 1], [2, 2]]);
        let [fewer, written, _] = steps(&before, &after)[..] else { panic!("three steps") };
        assert_eq!((fewer.nat_v4, written.nat_v4), (before.nat_v4, after.nat_v4));
        assert_eq!(numbers(&after, &settings(&[1], &[4, 5], 20_000)), [[1, 2]; 3]);
    }

    #[test]
    fn no_source_is_given_while_the_ports_change() {
        let sources = |first_port| settings(&[1, 2], &[3], first_port);
        assert_eq!(numbers(&sources(20_000), &sources(30_000)), [[0, 0], [0, 0], [2, 1]]);
    }
}
