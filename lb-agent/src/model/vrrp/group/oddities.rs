//! What is wrong with the settings of another router, as far as its advertisements tell.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::{Act, Advert, Group, OWNER};
use crate::model::vrrp::member::{MOST_INTERVALS, Member};

/// Announced intervals after which another router is not talked of any more.
const SILENT_AFTER: u32 = 4;

/// The last advertisement of another router that is, or was, Active.
#[derive(Clone, Copy, Debug)]
pub(in crate::model::vrrp) struct Spoken {
    from: IpAddr,
    at: Instant,
    interval: Duration,
    priority: u8,
}

/// What an operator should set right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::model::vrrp) enum Oddity {
    /// RFC 9568 7.1: all routers should have the same interval.
    Interval,
    /// It is so long that its announcements are not waited for.
    LongInterval,
    /// RFC 9568 6.1: only one router can own the addresses.
    TwoOwners,
}

impl Group {
    /// Takes note of the settings of another router; what is wrong is told once, until the own ones change.
    pub(super) fn examine(
        &mut self,
        now: Instant,
        at: usize,
        from: IpAddr,
        advert: &Advert,
    ) -> Vec<Act> {
        if let Some(member) = self.members.get_mut(at).filter(|_| advert.priority > 0) {
            let Advert { interval, priority, .. } = *advert;
            member.spoken = Some(Spoken { from, at: now, interval, priority });
        }
        let Some(member) = self.members.get(at) else { return Vec::new() };
        let odd = self.oddities(now, member);
        let new = odd.into_iter().filter(|(oddity, _)| self.told.insert(*oddity));
        new.map(|(_, said)| Act::Warn(format!("{}: {said}", self.name))).collect()
    }

    /// What is wrong with the router that was heard last, if it was heard lately.
    pub(in crate::model::vrrp) fn oddities(
        &self,
        now: Instant,
        member: &Member,
    ) -> Vec<(Oddity, String)> {
        let own = self.election.interval;
        let Some(Spoken { from, at, interval, priority }) = member.spoken else {
            return Vec::new();
        };
        let patience = own.max(interval) * SILENT_AFTER;
        if now.saturating_duration_since(at) > patience {
            return Vec::new();
        }
        let mut odd = Vec::new();
        if interval > own * MOST_INTERVALS {
            let said = format!(
                "{from} announces itself every {interval:?} only, and is taken for dead again and again: the interval here is {own:?}"
            );
            odd.push((Oddity::LongInterval, said));
        } else if interval != own {
            let said = format!("{from} has an interval of {interval:?}, this director of {own:?}");
            odd.push((Oddity::Interval, said));
        }
        if priority == OWNER && self.election.priority == OWNER {
            odd.push((Oddity::TwoOwners, format!("{from} owns the addresses too (priority 255)")));
        }
        odd
    }
}
