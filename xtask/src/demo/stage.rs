//! The demo's cast: the agent, the backends' web servers, and the client's requests.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use lb_tests::agent::{Agent, Settings, service};
use lb_tests::binaries::Binaries;
use lb_tests::clock::wait_until;
use lb_tests::http_client::{Exchange, ask_name};
use lb_tests::load::{Load, Pace};
use lb_tests::web::Web;
use lb_tests::world::{World, vips};

use super::{Story, WORLD};

/// The service of the demo.
pub(crate) const SERVICE: &str = "shop";
/// Its health check: a dead backend gets no new flows after `interval * fall + timeout`.
pub(crate) const NOTICED_WITHIN: Duration = Duration::from_millis(200 * 2 + 200);

/// After which a request has failed.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(5);
const HEALTH_WITHIN: Duration = Duration::from_secs(20);
const PORT: u16 = 80;

const TIMEOUTS: &str = r#"
[datapath.timeouts]
tcp_fin = "5s"
"#;

const HEALTH_CHECK: &str = r#"
[health_check.web]
type = "http"
interval = "200ms"
timeout = "200ms"
rise = 2
fall = 2
path = "/healthz"
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
        for host in &world.backends {
            stage.wait_for_health(&host.name, "up")?;
        }
        story.begin("All backends are healthy: lb-ctl status");
        story.say(stage.agent.ctl_ok(&["status"])?.trim_end());
        Ok(stage)
    }

    /// Waits until the agent holds all addresses of a backend to be `up` or `down`.
    pub(crate) fn wait_for_health(&self, backend: &str, health: &str) -> Result<()> {
        let arguments = ["health", "list", "--backend", backend];
        wait_until(&format!("{backend} to be {health}"), HEALTH_WITHIN, || {
            let targets = self.agent.ctl_json(&arguments)?;
            let targets = targets.as_array().context("read the list of health")?;
            Ok(!targets.is_empty() && targets.iter().all(|target| target["health"] == health))
        })
    }

    /// Sends `n` requests over IPv4 and IPv6 in turn, one after the other, through the VIP.
    pub(crate) fn send(&self, n: usize) -> Result<Vec<Exchange>> {
        let addresses = listen();
        self.world.client.namespace.enter(|| {
            addresses.iter().cycle().take(n).map(|address| ask_name(*address, TIMEOUT)).collect()
        })
    }

    /// Starts to send requests through the VIP, over both families at once.
    pub(crate) fn load(&self) -> Result<Load> {
        let pace = Pace { pause: Duration::from_millis(2), timeout: TIMEOUT };
        Load::start(&self.world.client.namespace, &listen(), pace)
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
        for vip in listen() {
            self.story.say(&format!("   {} curl -s http://{vip}/", enter("client")));
        }
        let metrics = lb_tests::agent::METRICS;
        self.story.say(&format!("   {} curl -s http://{metrics}/metrics", enter("director")));
        self.story.say("and remove it with: cargo xtask demo --stop");
    }
}

/// Where the service listens.
pub(crate) fn listen() -> [SocketAddr; 2] {
    vips(PORT)
}

/// Counts answers by backend; failures are left out.
pub(crate) fn by_backend<'a>(
    exchanges: impl IntoIterator<Item = &'a Exchange>,
) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for name in exchanges.into_iter().filter_map(|exchange| exchange.outcome.as_ref().ok()) {
        *counts.entry(name.clone()).or_default() += 1;
    }
    counts
}

/// Says who is where.
pub(crate) fn describe(world: &World, story: Story) {
    story.say("   client --- front [director] back --- switch --- web1, web2, web3");
    for host in std::iter::once(&world.client).chain(&world.backends) {
        story.say(&format!("   {:<7} {:<14} {}", host.name, host.v4, host.v6));
    }
    let [v4, v6] = listen();
    story.say(&format!("   VIP     {:<14} {}", v4.ip(), v6.ip()));
}

fn settings(world: &World) -> Settings {
    let options = "protocol = \"tcp\"\nforward = \"nat\"\nscheduler = \"rr\"\nhealth_check = \"web\"\n\
                   on_backend_down = \"reset\"";
    let service = service(SERVICE, &listen(), options, world);
    Settings { datapath: TIMEOUTS.to_owned(), tables: format!("{HEALTH_CHECK}\n{service}") }
}
