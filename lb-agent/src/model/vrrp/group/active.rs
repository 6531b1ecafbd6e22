//! As Active: RFC 9568 6.4.3.

use std::net::IpAddr;
use std::time::Instant;

use super::{
    ANNOUNCE_AT_MOST_EVERY, Act, Advert, Flows, Group, OWNER, REPEAT_AFTER, Rival, State,
    down_interval,
};

/// Own intervals after which a rival that is not heard any more is gone.
const RIVAL_GONE_AFTER: u32 = 4;

impl Group {
    pub(super) fn hear_as_active(
        &mut self,
        now: Instant,
        at: usize,
        from: IpAddr,
        advert: &Advert,
    ) -> Vec<Act> {
        let own = self.priority();
        if advert.priority == 0 {
            self.next_advert_at = now + self.election.interval;
            return vec![Act::AdvertiseOn(at, own)];
        }
        let is_tie = advert.priority == own;
        let gives_way =
            advert.priority > own || is_tie && self.loses_tie(now, at, from) || self.is_stale(now);
        if gives_way {
            return self.yield_to(now, at, from, advert);
        }
        if is_tie && !self.wins_tie(at, from) {
            return Vec::new();
        }
        self.beat_back(now, from)
    }

    fn yield_to(&mut self, now: Instant, at: usize, from: IpAddr, advert: &Advert) -> Vec<Act> {
        let reason = format!("{from} is Active with priority {}", advert.priority);
        let acts = self.become_backup(now, reason);
        let own = self.priority();
        if let Some(member) = self.members.get_mut(at) {
            member.adopt(now, advert, from);
            member.wait(now, own);
        }
        acts
    }

    /// Whether this director was silent for so long (stopped, starved) that others had to take it for dead. Without
    /// preemption it has no claim then: the one that took over stays.
    fn is_stale(&self, now: Instant) -> bool {
        // What it has not heard of meanwhile are also the flows of that one.
        let knows_all = self.flows == Flows::NotTold;
        let preempts = self.election.preempt && knows_all || self.priority() == OWNER;
        let silent = now.saturating_duration_since(self.last_advert_at);
        !preempts && silent >= down_interval(self.election.interval, self.priority())
    }

    /// RFC 9568 6.4.3: of two equal priorities the greater address wins. A group has several addresses, which need
    /// not be in the same order: what counts is its first router that hears the other one; so a later router waits
    /// for a second advertisement before it decides.
    fn loses_tie(&mut self, now: Instant, at: usize, from: IpAddr) -> bool {
        let since = now.checked_sub(down_interval(self.election.interval, self.priority()));
        let is_recent =
            |tied_at: Option<Instant>| tied_at.zip(since).is_some_and(|(at, since)| at > since);
        let is_decided_before =
            self.members.iter().take(at).any(|member| is_recent(member.tied_at));
        let Some(member) = self.members.get_mut(at) else { return false };
        let is_second = is_recent(member.tied_at);
        member.tied_at = Some(now);
        let is_less = member.source.is_some_and(|own| own < from);
        is_less && !is_decided_before && (at == 0 || is_second)
    }

    fn wins_tie(&self, at: usize, from: IpAddr) -> bool {
        self.members.get(at).is_some_and(|member| member.source.is_some_and(|own| own > from))
    }

    /// RFC 9568 6.4.3: assert the own state at once, to the sender and to the bridges that have learned from it.
    fn beat_back(&mut self, now: Instant, from: IpAddr) -> Vec<Act> {
        let mut acts = Vec::new();
        let interval = self.election.interval;
        // One answer to each of its advertisements, for its interval is much like ours; a flood gets no more.
        if now.saturating_duration_since(self.last_advert_at) >= interval / 4
            || self.rival.is_none()
        {
            self.next_advert_at = now;
            acts.push(self.advertise(now));
        }
        if now.saturating_duration_since(self.last_announced_at) >= ANNOUNCE_AT_MOST_EVERY
            || self.rival.is_none()
        {
            self.last_announced_at = now;
            acts.push(Act::Announce);
        }
        // The other one has announced itself meanwhile: the winner's word must be the last.
        self.repeat_at.get_or_insert(now + REPEAT_AFTER);
        acts.extend(self.note_rival(now, from));
        acts
    }

    fn note_rival(&mut self, now: Instant, from: IpAddr) -> Option<Act> {
        let interval = self.election.interval;
        let rival = self.rival.get_or_insert(Rival {
            address: from,
            first_at: now,
            last_at: now,
            is_told: false,
        });
        rival.address = from;
        rival.last_at = now;
        // Whoever has heard the answer has stood down by the next interval.
        let persists = now.saturating_duration_since(rival.first_at) > interval * 2;
        if !persists || std::mem::replace(&mut rival.is_told, true) {
            return None;
        }
        Some(Act::Warn(format!(
            "{}: split brain: {from} is Active too, and does not hear this director or does not give way",
            self.name
        )))
    }

    pub(super) fn tick_as_active(&mut self, now: Instant) -> Vec<Act> {
        let mut acts = Vec::new();
        if self.next_advert_at <= now {
            acts.push(self.advertise(now));
        }
        if self.repeat_at.is_some_and(|at| at <= now) {
            self.repeat_at = None;
            self.last_announced_at = now;
            acts.push(Act::Announce);
        }
        let patience = self.election.interval * RIVAL_GONE_AFTER;
        if self.rival.is_some_and(|rival| now.saturating_duration_since(rival.last_at) > patience) {
            self.rival = None;
        }
        acts
    }

    /// Takes over what the configuration says now.
    pub(in crate::model::vrrp) fn set_election(&mut self, now: Instant, election: super::Election) {
        if self.election != election {
            self.told.clear();
        }
        self.election = election;
        if self.state == State::Active {
            self.next_advert_at = self.next_advert_at.min(now + self.election.interval);
        }
    }
}
