//! Random rules, which flows have to follow.

use std::sync::Arc;

use lb_agent::model::firewall::compile::{Compiled, Names, compile};
use lb_agent::model::firewall::{Action, Firewall, Match, Rule, Sets};

use crate::random::Random;

/// Ids of the listeners that not everyone may use.
const NOT_FOR_ALL: [u32; 5] = [0, 1, 2, 6, 7];

/// No rules, some that drop what comes from some ports, or some that accept it alone; and perhaps a list of who may
/// use some services.
pub fn rules(random: &mut Random) -> Arc<Compiled> {
    let (policy, action) = match random.below(10) {
        0..6 => return Arc::new(Compiled::off()),
        6 => (Action::Drop, Action::Accept),
        _ => (Action::Accept, Action::Drop),
    };
    // A policy that drops leaves most ports open, too.
    let span = if policy == Action::Drop { 60_000 } else { 6_000 };
    let first = random.word() % (u16::MAX - span);
    let sports = vec![first..=first + span];
    let rules = vec![Rule { name: "some".to_owned(), sports, ..Rule::any(action) }];
    let firewall = Firewall { policy, rules, max_prefixes: 0, ..Firewall::default() };
    let mut names = Names::default();
    if random.chance(90) {
        let list =
            ["198.51.100.0/25", "2001:db8:99::/120"].map(|net| Match::Prefix(net.parse().unwrap()));
        names.services.insert("some".to_owned(), NOT_FOR_ALL.to_vec());
        names.allows.insert("some".to_owned(), list.to_vec());
    }
    compile(&firewall, &Sets::new(), &names).unwrap()
}
