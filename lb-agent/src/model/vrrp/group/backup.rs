//! As Backup: RFC 9568 6.4.2.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::{Act, Advert, Flows, Group, Heard, LAST_RESORT, OWNER, State, skew};

/// A Backup that has known all flows for so long is believed that it does: longer than the connection of replication
/// may be silent without being noticed, and than TCP waits before it sends again.
const SETTLED_AFTER: Duration = Duration::from_millis(500);

impl Group {
    pub(super) fn hear_as_backup(
        &mut self,
        now: Instant,
        at: usize,
        from: IpAddr,
        advert: &Advert,
    ) -> Vec<Act> {
        let own = self.priority();
        let is_kept_waiting = advert.priority >= own || !self.may_preempt(now, advert.priority);
        if advert.priority >= own {
            self.preempt_from = None;
        }
        let Some(member) = self.members.get_mut(at) else { return Vec::new() };
        if advert.priority == 0 {
            // RFC 9568 6.4.2: the Active router is leaving, so wait only the skew.
            member.down_at = now + skew(member.active_interval, own);
            member.heard = Some(Heard { from, priority: 0, at: now });
            self.members.iter_mut().for_each(|member| member.wait_for_one_more(now, own));
        } else if is_kept_waiting {
            member.adopt(now, advert, from);
            member.wait(now, own);
        }
        Vec::new()
    }

    /// Whether an Active router of this lower priority is not waited for.
    fn may_preempt(&mut self, now: Instant, priority: u8) -> bool {
        if self.is_released {
            return false;
        }
        // RFC 9568 6.1: the owner preempts in any case. And who announces the last resort wants to be relieved.
        if self.priority() == OWNER || priority == LAST_RESORT {
            return true;
        }
        if !self.election.preempt {
            return false;
        }
        let delay = self.election.preempt_delay;
        let is_due = *self.preempt_from.get_or_insert(now + delay) <= now;
        is_due && self.knows_flows(now)
    }

    /// Whether a connection that another director has would go on here. A link that comes back brings adverts before
    /// TCP has sent again what was lost of replication meanwhile.
    fn knows_flows(&self, now: Instant) -> bool {
        match self.flows {
            Flows::NotTold => true,
            Flows::Behind => false,
            Flows::InStep(since) => since.max(self.since) + SETTLED_AFTER <= now,
        }
    }

    /// Whether it would take over, and only waits for the flows of the others.
    pub(in crate::model::vrrp) fn waits_for_flows(&self) -> bool {
        let heard = self.members.iter().filter_map(|member| member.heard);
        let priorities: Vec<_> = heard.map(|heard| heard.priority).collect();
        self.state == State::Backup
            && self.flows == Flows::Behind
            && self.election.preempt
            && !self.is_released
            && !priorities.is_empty()
            && priorities
                .iter()
                .all(|priority| (LAST_RESORT + 1..self.priority()).contains(priority))
    }

    pub(super) fn tick_as_backup(&mut self, now: Instant) -> Vec<Act> {
        // A router of the group that still hears an Active one shows that its director lives.
        if self.members.is_empty() || self.members.iter().any(|member| member.down_at > now) {
            return Vec::new();
        }
        let heard = self.members.iter().filter_map(|member| member.heard);
        let last = heard.max_by_key(|heard| heard.at);
        let has_left = last.is_some_and(|heard| heard.priority == 0);
        let holds = self.flows != Flows::NotTold && !has_left;
        let reason = match last {
            None => "no other router is heard".to_owned(),
            Some(Heard { from, priority: 0, .. }) => format!("{from} has left"),
            Some(Heard { from, at, .. }) => {
                let silent = now.saturating_duration_since(at).as_millis();
                format!("nothing was heard of {from} for {silent} ms")
            }
        };
        let acts = self.become_active(now, reason);
        holds.then_some(Act::Hold).into_iter().chain(acts).collect()
    }
}
