//! The demo's cast: the agent, the backends' web servers, and the client's requests.

use std::collections::BTreeMap;

use anyhow::Result;
use lb_tests::agent::{Agent, Settings, quick_shop};
use lb_tests::binaries::Binaries;
use lb_tests::http_client::Exchange;
use lb_tests::load::{Load, send_in_turn};
use lb_tests::web::{PORT, Web};
use lb_tests::world::{World, vips};

use super::{Story, WORLD};

/// The service of the demo.
pub(crate) const SERVICE: &str = "shop";

const TIMEOUTS: &str = r#"
[datapath.timeouts]
tcp_fin = "5s"
"#;

/// Everything that runs.
pub(crate) struct Stage<'w> {
    /// The agent.
    pub(crate) agent: Agent<'w>,
    /// The backends' web servers.
    pub(crate) webs: Vec<Web>,
    /// The namespaces.
    pub(crate) world: &'w World,
    /// Where the project's binaries are.
    pub(crate) binaries: &'w Binaries,
    /// Where to tell what happens.
    pub(crate) story: Story,
}

impl<'w> Stage<'w> {
    /// Starts web servers and agent, and waits until all backends are healthy.
    pub(crate) fn set(world: &'w World, binaries: &'w Binaries, story: Story) -> Result<Self> {
        let webs = Web::start_all(world, binaries)?;
        let settings = settings(world);
        story.begin("Starting lb-agent in the director, with this configuration");
        settings.file(world).lines().for_each(|line| story.say(&format!("   {line}")));
        let agent = Agent::start(world, binaries, &settings)?;
        let stage = Self { agent, webs, world, binaries, story };
        stage.agent.wait_until_all_up()?;
        story.begin("All backends are healthy: lb-ctl status");
        story.say(stage.agent.ctl_ok(&["status"])?.trim_end());
        Ok(stage)
    }

    /// Sends `n` requests over IPv4 and IPv6 in turn, one after the other, through the VIP.
    pub(crate) fn send(&self, n: usize) -> Result<Vec<Exchange>> {
        send_in_turn(&self.world.client.namespace, &vips(PORT), n)
    }

    /// Starts to send requests through the VIP, over both families at once.
    pub(crate) fn load(&self) -> Result<Load> {
        Load::start(&self.world.client.namespace, &vips(PORT))
    }

    /// Shows how answers were spread.
    pub(crate) fn show(&self, counts: &BTreeMap<String, usize>) {
        let most = counts.values().copied().max().unwrap_or(0).max(1);
        for (name, count) in counts {
            self.story.say(&format!("   {name:<6}{count:>6}  {}", "█".repeat(count * 40 / most)));
        }
    }

    /// Leaves everything running, and says what can be done with it.
    pub(crate) fn keep(mut self) {
        self.world.keep();
        self.agent.keep();
        self.webs.iter_mut().for_each(|web| web.process.keep());
        self.story.begin("Everything is left running. Try");
        let ctl = format!("{:?}", self.agent.ctl_command()).replace('"', "");
        for verb in ["status", "backend list", "conn list", "drops", "backend drain shop web1"] {
            self.story.say(&format!("   {ctl} {verb}"));
        }
        let enter = |role: &str| format!("nsenter --net=/run/netns/{WORLD}-{role}");
        for vip in vips(PORT) {
            self.story.say(&format!("   {} curl -s http://{vip}/", enter("client")));
        }
        let metrics = lb_tests::agent::METRICS;
        self.story.say(&format!("   {} curl -s http://{metrics}/metrics", enter("director")));
        self.story.say("and remove it with: cargo xtask demo --stop");
    }
}

/// Says who is where.
pub(crate) fn describe(world: &World, story: Story) {
    story.say("   client --- front [director] back --- switch --- web1, web2, web3");
    for host in std::iter::once(&world.client).chain(&world.backends) {
        story.say(&format!("   {:<7} {:<14} {}", host.name, host.v4, host.v6));
    }
    let [v4, v6] = vips(PORT);
    story.say(&format!("   VIP     {:<14} {}", v4.ip(), v6.ip()));
}

fn settings(world: &World) -> Settings {
    Settings { datapath: TIMEOUTS.to_owned(), ..quick_shop(world) }
}
