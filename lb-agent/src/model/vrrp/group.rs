//! The election: RFC 9568 6.4 for routers that take over and stand down together.
//!
//! With one router it is the RFC's machine, state for state. What is added keeps one packet, one stall or one
//! neighbour from doing harm: see [`Group::stand_down`], [`Group::is_stale`] and [`Member::adopt`].

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::State;
use super::advert::Advert;
use super::member::{Heard, Member, down_interval, skew};

mod active;
mod backup;
mod oddities;
mod watch;

pub(super) use oddities::{Oddity, Spoken};

/// A director with dead services is Active only if nobody else is.
const LAST_RESORT: u8 = 1;
/// The owner of the addresses (RFC 9568 6.1).
pub(super) const OWNER: u8 = 255;
/// From an announcement to its repetition (RFC 5227 2.3 names two seconds for conflicts; switches and hosts that
/// missed the first one should not wait that long).
const REPEAT_AFTER: Duration = Duration::from_secs(1);
/// Between two announcements that answer another Active router.
const ANNOUNCE_AT_MOST_EVERY: Duration = Duration::from_millis(100);

/// What all routers of a group have in common.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Election {
    pub(super) priority: u8,
    pub(super) interval: Duration,
    pub(super) preempt: bool,
    pub(super) preempt_delay: Duration,
}

/// What a group wants done.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Act {
    /// All its routers advertise this priority.
    Advertise(u8),
    /// One of them does.
    AdvertiseOn(usize, u8),
    /// Who was Active has fallen silent, and may have begun flows that it could tell nobody of.
    Hold,
    /// The neighbours are told where the addresses are.
    Announce,
    /// The state has changed.
    Changed { from: State, to: State, reason: String },
    /// To be looked at by an operator.
    Warn(String),
}

/// Whether the flows of other directors are known here.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum Flows {
    /// Directors do not tell each other.
    #[default]
    NotTold,
    /// Not all of them.
    Behind,
    /// All of them, since then.
    InStep(Instant),
}

/// Another Active router that does not give way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rival {
    pub(super) address: IpAddr,
    pub(super) first_at: Instant,
    pub(super) last_at: Instant,
    pub(super) is_told: bool,
}

/// Routers that take over and stand down together.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) election: Election,
    pub(super) members: Vec<Member>,
    pub(super) state: State,
    pub(super) since: Instant,
    pub(super) n_changes: u64,
    /// Why it is in this state.
    pub(super) reason: String,
    /// Sum of the weights of tracked services that are dead.
    pub(super) weights: i32,
    /// Whether a tracked service without a weight is dead.
    pub(super) is_last_resort: bool,
    /// Asked to let another one have the addresses, until it is Active again.
    pub(super) is_released: bool,
    /// Whether the flows of other directors are known here.
    pub(super) flows: Flows,
    /// As Backup: when a router of a lower priority may be preempted.
    preempt_from: Option<Instant>,
    /// Not Active any more, but the addresses stay until another one has announced itself. Only who takes no part in
    /// the election any more waits no longer than until then: a Backup that hears nobody becomes Active again.
    pub(super) leaving_until: Option<Instant>,
    next_advert_at: Instant,
    last_advert_at: Instant,
    last_announced_at: Instant,
    repeat_at: Option<Instant>,
    pub(super) rival: Option<Rival>,
    /// What was told of the settings of others.
    told: BTreeSet<Oddity>,
}

impl Group {
    /// A group that has not started yet.
    pub(super) fn new(
        now: Instant,
        name: String,
        election: Election,
        members: Vec<Member>,
    ) -> Self {
        Self {
            name,
            election,
            members,
            state: State::Initialize,
            since: now,
            n_changes: 0,
            reason: "the agent has started".to_owned(),
            weights: 0,
            is_last_resort: false,
            is_released: false,
            flows: Flows::NotTold,
            preempt_from: None,
            leaving_until: None,
            next_advert_at: now,
            last_advert_at: now,
            last_announced_at: now,
            repeat_at: None,
            rival: None,
            told: BTreeSet::new(),
        }
    }

    /// The priority that it has by now; never 0, which is said only by those that leave.
    pub(super) fn priority(&self) -> u8 {
        if self.is_last_resort {
            return LAST_RESORT;
        }
        let priority = i32::from(self.election.priority);
        if self.weights == 0 {
            return self.election.priority;
        }
        let most = i32::from(OWNER - 1);
        u8::try_from((priority + self.weights).clamp(i32::from(LAST_RESORT), most))
            .unwrap_or(LAST_RESORT)
    }

    /// Whether the virtual addresses are to be on the interfaces.
    pub(super) fn has_addresses(&self) -> bool {
        self.state == State::Active || self.leaving_until.is_some()
    }

    /// `Startup` (RFC 9568 6.4.1). `was_active`: the agent was away for less time than another router waits.
    pub(super) fn start(&mut self, now: Instant, was_active: bool) -> Vec<Act> {
        if was_active {
            return self.become_active(now, "the agent is back in time".to_owned());
        }
        if self.priority() == OWNER {
            return self.become_active(now, "this director owns the addresses".to_owned());
        }
        self.become_backup(now, "started".to_owned())
    }

    /// `Shutdown` (RFC 9568 6.4.2 and 6.4.3), for as long as there is a reason.
    pub(super) fn initialize(&mut self, now: Instant, reason: String) -> Vec<Act> {
        match self.state {
            State::Initialize => {
                self.reason = reason;
                Vec::new()
            }
            State::Backup => vec![self.change(now, State::Initialize, reason)],
            State::Active => self.stand_down(now, State::Initialize, reason),
        }
    }

    /// Takes note of an advertisement that was believed.
    pub(super) fn hear(
        &mut self,
        now: Instant,
        at: usize,
        from: IpAddr,
        advert: &Advert,
    ) -> Vec<Act> {
        if advert.priority > 0 {
            // Another one has announced itself: it has the addresses now.
            self.leaving_until = None;
        }
        let mut acts = self.examine(now, at, from, advert);
        acts.extend(match self.state {
            State::Initialize => Vec::new(),
            State::Backup => self.hear_as_backup(now, at, from, advert),
            State::Active => self.hear_as_active(now, at, from, advert),
        });
        acts
    }

    /// Does what is due.
    pub(super) fn tick(&mut self, now: Instant) -> Vec<Act> {
        match self.state {
            State::Initialize => {
                self.leaving_until = self.leaving_until.filter(|until| *until > now);
                Vec::new()
            }
            State::Backup => self.tick_as_backup(now),
            State::Active => self.tick_as_active(now),
        }
    }

    /// When [`Group::tick`] is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Initialize => self.leaving_until,
            State::Backup => self.members.iter().map(|member| member.down_at).max(),
            State::Active => {
                Some(self.repeat_at.map_or(self.next_advert_at, |at| at.min(self.next_advert_at)))
            }
        }
    }

    /// The services that it depends on have become dead or alive. An Active router that has become the last resort
    /// gives way at once, since one that does not preempt would never take over.
    pub(super) fn weigh(&mut self, now: Instant, weights: i32, is_last_resort: bool) -> Vec<Act> {
        let gives_way = is_last_resort && !self.is_last_resort && self.state == State::Active;
        self.weights = weights;
        self.is_last_resort = is_last_resort;
        if gives_way {
            return self.stand_down(
                now,
                State::Backup,
                "a tracked service has no backend".to_owned(),
            );
        }
        Vec::new()
    }

    /// Lets another router have the addresses; `None`: they are not here.
    pub(super) fn release(&mut self, now: Instant) -> Option<Vec<Act>> {
        if self.state != State::Active {
            return None;
        }
        self.is_released = true;
        Some(self.stand_down(now, State::Backup, "released by an operator".to_owned()))
    }

    /// Leaves in good order: priority zero is said, but the addresses stay until another router has announced
    /// itself, so that no request finds nobody.
    fn stand_down(&mut self, now: Instant, to: State, reason: String) -> Vec<Act> {
        // Another one waits no longer than its skew, which is less than an interval.
        let patience = self.election.interval * 5 / 4 + Duration::from_millis(50);
        self.leaving_until = Some(now + patience);
        let changed = self.change(now, to, reason);
        self.forget_all(now);
        vec![Act::Advertise(0), changed]
    }

    fn become_active(&mut self, now: Instant, reason: String) -> Vec<Act> {
        self.is_released = false;
        self.leaving_until = None;
        self.rival = None;
        self.repeat_at = Some(now + REPEAT_AFTER);
        self.last_announced_at = now;
        let changed = self.change(now, State::Active, reason);
        vec![self.advertise(now), Act::Announce, changed]
    }

    fn become_backup(&mut self, now: Instant, reason: String) -> Vec<Act> {
        self.forget_all(now);
        vec![self.change(now, State::Backup, reason)]
    }

    fn forget_all(&mut self, now: Instant) {
        let priority = self.priority();
        self.preempt_from = None;
        self.members.iter_mut().for_each(|member| member.forget(now, priority));
    }

    fn change(&mut self, now: Instant, to: State, reason: String) -> Act {
        let from = self.state;
        self.state = to;
        self.since = now;
        self.n_changes += 1;
        self.reason.clone_from(&reason);
        Act::Changed { from, to, reason }
    }

    fn advertise(&mut self, now: Instant) -> Act {
        // On time even if this tick was late, but never several at once.
        let on_time = self.next_advert_at + self.election.interval;
        self.next_advert_at = if on_time > now { on_time } else { now + self.election.interval };
        self.last_advert_at = now;
        Act::Advertise(self.priority())
    }
}
