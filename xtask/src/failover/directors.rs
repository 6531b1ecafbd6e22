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
use super::{Fault, System, vip};

const WITHIN: Duration = Duration::from_mins(1);
const KEY: &str = "a key of thirty-two bytes or more";

/// Two directors of one system, and the backends' servers.
pub(crate) struct Directors<'p> {
    pair: &'p Pair,
    advert: Duration,
    each: [Balancer<'p>; 2],
    /// Who is Active: 1 or 2.
    active: usize,
    _webs: Vec<Web>,
}

/// What runs on a machine.
enum Balancer<'p> {
    Sluice(Director<'p>),
    Classic(Classic),
}

impl<'p> Directors<'p> {
    /// Starts both; the first one becomes Active.
    pub(crate) fn start(
        pair: &'p Pair,
        binaries: &Binaries,
        system: System,
        advert: Duration,
    ) -> Result<Self> {
        let hosts = pair.backends.iter();
        let serve = |host| Web::start_in(pair.folder(), host, binaries, &host.at(PORT));
        let webs = hosts.map(serve).collect::<Result<_>>()?;
        let start = |number| Balancer::start(pair, binaries, system, advert, number);
        let first = start(1)?;
        wait_until("the first director to be Active", WITHIN, || has_vip(pair, 1))?;
        let each = [first, start(2)?];
        let directors = Self { pair, advert, each, active: 1, _webs: webs };
        directors.wait_for_answers()?;
        directors.wait_until_ready()?;
        Ok(directors)
    }

    /// The machines.
    pub(crate) fn pair(&self) -> &'p Pair {
        self.pair
    }

    /// Who is Active: 1 or 2.
    pub(crate) fn active(&self) -> usize {
        self.active
    }

    /// Brings a fault about.
    pub(crate) fn befall(&mut self, fault: Fault) -> Result<()> {
        match fault {
            Fault::Silent => self.pair.deafen_director(self.active, true),
            Fault::Link => self.pair.unplug(&front(self.active)),
            Fault::Stop => self.balancer(self.active)?.stop(),
        }
    }

    /// The other one has the VIP.
    pub(crate) fn wait_for_takeover(&mut self) -> Result<()> {
        let other = 3 - self.active;
        wait_until("the other director to take over", WITHIN, || has_vip(self.pair, other))
    }

    /// Makes the fault good: whom it has befallen is the other one's Backup from now on.
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
        }
        self.active = 3 - number;
        self.wait_until_ready()
    }

    fn balancer(&mut self, number: usize) -> Result<&mut Balancer<'p>> {
        self.each.get_mut(number - 1).context("there are two directors")
    }

    fn restart(&mut self, number: usize) -> Result<()> {
        let (pair, advert) = (self.pair, self.advert);
        match self.balancer(number)? {
            Balancer::Sluice(director) => director.restart(),
            Balancer::Classic(classic) => {
                *classic = Classic::start(pair, number, advert)?;
                Ok(())
            }
        }
    }

    fn wait_for_answers(&self) -> Result<()> {
        let answers = || Ok(get(vip(), "/", WITHIN).is_ok_and(|answer| answer.status == 200));
        self.pair.client.namespace.enter(|| wait_until("the VIP to answer", WITHIN, answers))?
    }

    /// One has the VIP, and the other one is ready to take it over.
    fn wait_until_ready(&self) -> Result<()> {
        let (active, backup) = (self.active, 3 - self.active);
        wait_until("one director to have the VIP", WITHIN, || {
            Ok(has_vip(self.pair, active)? && !has_vip(self.pair, backup)?)
        })?;
        for (number, balancer) in (1..).zip(&self.each) {
            wait_until("both directors to be ready", WITHIN, || {
                balancer.is_ready(number == active)
            })
            .with_context(|| format!("lb{number} said:\n{}", balancer.log()))?;
        }
        Ok(())
    }
}

impl<'p> Balancer<'p> {
    fn start(
        pair: &'p Pair,
        binaries: &Binaries,
        system: System,
        advert: Duration,
        number: usize,
    ) -> Result<Self> {
        Ok(match system {
            System::Sluice => {
                let tables = tables(pair, number, advert)?;
                Self::Sluice(Director::start_from(pair, number, &tables, binaries)?)
            }
            System::Classic => Self::Classic(Classic::start(pair, number, advert)?),
        })
    }

    fn stop(&mut self) -> Result<()> {
        match self {
            Self::Sluice(director) => director.process.terminate(WITHIN).map(drop),
            Self::Classic(classic) => classic.stop(),
        }
    }

    fn kill(&mut self) -> Result<()> {
        match self {
            Self::Sluice(director) => director.process.kill(),
            Self::Classic(classic) => classic.kill(),
        }
    }

    fn log(&self) -> String {
        match self {
            Self::Sluice(director) => director.process.log(),
            Self::Classic(classic) => classic.log(),
        }
    }

    fn is_ready(&self, is_active: bool) -> Result<bool> {
        match self {
            Self::Sluice(director) => {
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
/// Of both directors: whoever is Active stays so.
pub(super) const PRIORITY: u8 = 200;

/// The configuration of a director of Sluice. By a hash the other director finds the backend of a connection too
/// that began a moment before the fault.
fn tables(pair: &Pair, number: usize, advert: Duration) -> Result<String> {
    use std::os::unix::fs::PermissionsExt;
    let key = pair.folder().join("sync.key");
    std::fs::write(&key, KEY).context("write the key")?;
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600))?;
    let backends = pair.backends.iter().map(|host| {
        format!("[[service.backend]]\nname = \"{}\"\naddress = \"{}:80\"\n", host.name, host.v4)
    });
    let router = |name: &str, interface: &str, id: u8, address: &str| {
        format!(
            "[[vrrp]]\nname = \"{name}\"\ngroup = \"pair\"\ninterface = \"{interface}\"\n\
             virtual_router_id = {id}\npriority = {PRIORITY}\nadvert_interval = \"{}ms\"\n\
             addresses = [\"{address}\"]\n",
            advert.as_millis()
        )
    };
    Ok(format!(
        "[[service]]\nname = \"shop\"\nlisten = [\"{VIP_V4}:80\"]\nscheduler = \"maglev\"\n{}\n{}{}\n\
         [sync]\nlisten = \"192.0.2.{}:8848\"\npeers = [\"192.0.2.{}:8848\"]\nkey_file = \"{}\"\n",
        backends.collect::<Vec<_>>().concat(),
        router("vip", "front", 51, &format!("{VIP_V4}/32")),
        router("gateway", "back", 52, GATEWAY),
        number + 1,
        4 - number,
        key.display()
    ))
}
