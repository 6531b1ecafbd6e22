//! Both directors at work: one is Active, and takes turns with the other.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use lb_tests::binaries::Binaries;
use lb_tests::clock::wait_until;
use lb_tests::http_client::get;
use lb_tests::pair::{Director, Pair, VIP_V4, has};
use lb_tests::web::{PORT, Web};

use super::classic::Classic;
use super::{Fault, Setup, System, sluice, vip};

const WITHIN: Duration = Duration::from_mins(1);
/// The director that has the greater priority where one has.
const PREFERRED: usize = 1;

/// Two directors of one system, and the backends' servers.
pub(crate) struct Directors<'p> {
    pair: &'p Pair,
    setup: Setup,
    each: [Balancer<'p>; 2],
    /// Who is Active: 1 or 2.
    active: usize,
    _webs: Vec<Web>,
}

/// What runs on a machine.
enum Balancer<'p> {
    Sluice(Sluice<'p>),
    Classic(Classic),
}

struct Sluice<'p> {
    director: Director<'p>,
    /// What runs, and the other version of it.
    versions: [Binaries; 2],
}

impl<'p> Directors<'p> {
    /// Starts both; the first one becomes Active.
    pub(crate) fn start(pair: &'p Pair, versions: &[Binaries; 2], setup: Setup) -> Result<Self> {
        let [binaries, _] = versions;
        let hosts = pair.backends.iter();
        let serve = |host| Web::start_in(pair.folder(), host, binaries, &host.at(PORT));
        let webs = hosts.map(serve).collect::<Result<_>>()?;
        let start = |number| Balancer::start(pair, versions, setup, number);
        let first = start(1)?;
        wait_until("the first director to be Active", WITHIN, || has_vip(pair, 1))?;
        let each = [first, start(2)?];
        let mut directors = Self { pair, setup, each, active: 1, _webs: webs };
        directors.wait_for_answers()?;
        directors.wait_until_settled()?;
        Ok(directors)
    }

    /// The machines.
    pub(crate) fn pair(&self) -> &'p Pair {
        self.pair
    }

    /// Their logs.
    pub(crate) fn said(&self) -> String {
        let [first, second] = &self.each;
        format!("lb1 said:\n{}\nlb2 said:\n{}", first.log(), second.log())
    }

    /// Who is Active: 1 or 2.
    pub(crate) fn active(&self) -> usize {
        self.active
    }

    /// Looks who is Active.
    pub(crate) fn find_active(&mut self) -> Result<()> {
        let holder = self.holder()?;
        self.active = holder
            .with_context(|| format!("not exactly one director has the VIP: {}", self.said()))?;
        Ok(())
    }

    /// Brings about what a fault presupposes: a preferred director that returns is away.
    pub(crate) fn prepare(&mut self, fault: Fault) -> Result<()> {
        if fault == Fault::Return {
            self.balancer(PREFERRED)?.stop()?;
            self.active = PREFERRED;
            self.wait_for_takeover()?;
            self.wait_for_answers()?;
        }
        Ok(())
    }

    /// Brings a fault about.
    pub(crate) fn befall(&mut self, fault: Fault) -> Result<()> {
        let active = self.active;
        match fault {
            Fault::Silent => self.pair.deafen_director(active, true),
            Fault::Link => self.pair.unplug(&front(active)),
            Fault::Stop => self.balancer(active)?.stop(),
            Fault::Kill => {
                self.balancer(active)?.kill()?;
                self.restart(active)
            }
            Fault::Upgrade => {
                let balancer = self.balancer(active)?;
                balancer.stop()?;
                balancer.become_another_version();
                self.restart(active)
            }
            Fault::Return => self.restart(PREFERRED),
        }
    }

    /// Waits until all has come of a fault that comes of it by itself.
    pub(crate) fn wait_for_outcome(&mut self, fault: Fault) -> Result<()> {
        match fault {
            Fault::Silent | Fault::Link | Fault::Stop => self.wait_for_takeover(),
            Fault::Kill | Fault::Upgrade => self.wait_until_settled(),
            Fault::Return => {
                wait_until("the preferred director to take over", WITHIN, || {
                    has_vip(self.pair, PREFERRED)
                })?;
                self.wait_until_settled()
            }
        }
    }

    /// The other one has the VIP.
    fn wait_for_takeover(&self) -> Result<()> {
        let other = other(self.active);
        wait_until("the other director to take over", WITHIN, || has_vip(self.pair, other))
    }

    /// Makes the fault good: both directors are ready for the next.
    pub(crate) fn recover(&mut self, fault: Fault) -> Result<()> {
        let (number, pair) = (self.active, self.pair);
        match fault {
            Fault::Silent => {
                self.balancer(number)?.kill()?;
                forget_addresses(pair, number)?;
                pair.deafen_director(number, false)?;
                self.restart(number)?;
            }
            Fault::Link => pair.plug_in(&front(number))?,
            Fault::Stop => self.restart(number)?,
            Fault::Kill | Fault::Upgrade | Fault::Return => {}
        }
        self.wait_until_settled()
    }

    fn balancer(&mut self, number: usize) -> Result<&mut Balancer<'p>> {
        self.each.get_mut(number - 1).context("there are two directors")
    }

    fn restart(&mut self, number: usize) -> Result<()> {
        let (pair, setup) = (self.pair, self.setup);
        match self.balancer(number)? {
            Balancer::Classic(classic) => classic.restart(pair, number, setup),
            Balancer::Sluice(Sluice { director, versions: [now, _] }) => director.restart_as(now),
        }
    }

    fn wait_for_answers(&self) -> Result<()> {
        let answers = || Ok(get(vip(), "/", WITHIN).is_ok_and(|answer| answer.status == 200));
        self.pair.client.namespace.enter(|| wait_until("the VIP to answer", WITHIN, answers))?
    }

    /// Who has the VIP, if one has it.
    fn holder(&self) -> Result<Option<usize>> {
        Ok(match (has_vip(self.pair, 1)?, has_vip(self.pair, 2)?) {
            (true, false) => Some(1),
            (false, true) => Some(2),
            (true, true) | (false, false) => None,
        })
    }

    /// One has the VIP, and the other one is ready to take it over.
    fn wait_until_settled(&mut self) -> Result<()> {
        let is_settled = || {
            let Some(holder) = self.holder()? else { return Ok(false) };
            let are_ready = (1..).zip(&self.each).map(|(n, it)| it.is_ready(n == holder));
            Ok(are_ready.collect::<Result<Vec<_>>>()?.into_iter().all(|is_ready| is_ready))
        };
        wait_until("both directors to be ready", WITHIN, is_settled)
            .with_context(|| self.said())?;
        self.find_active()
    }
}

impl<'p> Balancer<'p> {
    fn start(
        pair: &'p Pair,
        versions: &[Binaries; 2],
        setup: Setup,
        number: usize,
    ) -> Result<Self> {
        Ok(match setup.system {
            System::Sluice => {
                let (tables, [now, _]) = (sluice::tables(pair, number, setup)?, versions);
                let director = Director::start_from(pair, number, &tables, now)?;
                Self::Sluice(Sluice { director, versions: versions.clone() })
            }
            System::Classic(beside) => Self::Classic(Classic::start(pair, number, setup, beside)?),
        })
    }

    /// What is started next is of another version, where there is one.
    fn become_another_version(&mut self) {
        match self {
            Self::Sluice(it) => it.versions.reverse(),
            Self::Classic(_) => {}
        }
    }

    fn stop(&mut self) -> Result<()> {
        match self {
            Self::Sluice(Sluice { director, .. }) => director.process.terminate(WITHIN).map(drop),
            Self::Classic(classic) => classic.stop(),
        }
    }

    fn kill(&mut self) -> Result<()> {
        match self {
            Self::Sluice(Sluice { director, .. }) => director.process.kill(),
            Self::Classic(classic) => classic.kill(),
        }
    }

    fn log(&self) -> String {
        match self {
            Self::Sluice(Sluice { director, .. }) => director.process.log(),
            Self::Classic(classic) => classic.log(),
        }
    }

    fn is_ready(&self, is_active: bool) -> Result<bool> {
        match self {
            Self::Sluice(Sluice { director, .. }) => {
                let state = if is_active { "active" } else { "backup" };
                let in_step = director.ctl_json(&["sync", "status"])?;
                let in_step = in_step.get("is_in_step").is_some_and(|it| it == true);
                Ok(in_step && director.states()? == [state])
            }
            Self::Classic(classic) => Ok(classic.is_ready(is_active)),
        }
    }
}

fn front(number: usize) -> String {
    format!("lb{number}-front")
}

fn has_vip(pair: &Pair, number: usize) -> Result<bool> {
    let machine = pair.directors.get(number - 1).context("there are two directors")?;
    has(machine, IpAddr::from(VIP_V4))
}

/// A machine that boots has no virtual addresses.
fn forget_addresses(pair: &Pair, number: usize) -> Result<()> {
    let machine = pair.directors.get(number - 1).context("there are two directors")?;
    for (address, interface) in [(format!("{VIP_V4}/32"), "front"), (GATEWAY.to_owned(), "back")] {
        let (host, _) = address.split_once('/').context("it has a prefix length")?;
        if has(machine, host.parse()?)? {
            machine.ip(&format!("address del {address} dev {interface}"))?;
        }
    }
    Ok(())
}

/// The backends' gateway.
pub(super) const GATEWAY: &str = "192.0.2.1/24";

/// The address of a director in the backends' network.
pub(super) fn own_address(number: usize) -> String {
    format!("192.0.2.{}", number + 1)
}

/// The number of the other director.
pub(super) fn other(number: usize) -> usize {
    3 - number
}
