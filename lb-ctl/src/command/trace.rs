//! `lb-ctl drops` and `lb-ctl explain`

use std::io::{self, Write};
use std::time::Duration;

use lb_common::api::{DropSamples, Explanation, MadePacket, VerdictCount};
use lb_common::verdict::Kind;
use tokio::time::sleep;

use super::find;
use super::{Answer, Context};
use crate::args::look::{By, Drops};
use crate::args::trace::Explain;
use crate::client::path;
use crate::error::Error;
use crate::render::{flow, trace};

/// From one look at new samples to the next.
const PERIOD: Duration = Duration::from_millis(500);

pub(super) async fn drops(wanted: &Drops, context: &Context) -> Result<Answer, Error> {
    if wanted.follow {
        return follow(context).await;
    }
    match wanted.by {
        By::Reason => drops_by_reason(wanted, context).await,
        By::Service => {
            let services = find::services(context).await?;
            let mut rows: Vec<_> = services.iter().map(flow::ServiceDrops::new).collect();
            rows.retain(|row| wanted.all || row.packets > 0);
            rows.sort_by_key(|row| std::cmp::Reverse(row.packets));
            context.answer(&rows, |look| flow::by_service(&rows, look))
        }
        By::Source => drops_by_source(wanted.time, context).await,
    }
}

async fn drops_by_reason(wanted: &Drops, context: &Context) -> Result<Answer, Error> {
    let mut counts: Vec<VerdictCount> = context.client.get("/v1/drops").await?;
    if !wanted.all {
        counts.retain(|count| count.kind == Kind::Dropped.name());
    }
    context.answer(&counts, |look| {
        let mut shown = counts.clone();
        if !wanted.all {
            shown.retain(|count| count.packets > 0);
            shown.sort_by_key(|count| std::cmp::Reverse(count.packets));
        }
        flow::verdicts(&shown, look)
    })
}

/// Samples from now on.
struct Samples<'a> {
    context: &'a Context,
    after: Option<u64>,
}

impl Samples<'_> {
    async fn next(&mut self) -> Result<DropSamples, Error> {
        let after = self.after.map(|after| after.to_string());
        let path = path("/v1/drops/samples", &[("after", after.as_deref())]);
        let samples: DropSamples = self.context.client.get(&path).await?;
        self.after = Some(samples.next);
        Ok(samples)
    }
}

/// Writes a line for each packet, until nobody reads them any more.
async fn follow(context: &Context) -> Result<Answer, Error> {
    let mut samples = Samples { context, after: None };
    loop {
        let DropSamples { packets, missed, .. } = samples.next().await?;
        let mut lines = String::new();
        for packet in &packets {
            lines.push_str(&context.answer(packet, |_look| trace::line(packet))?.text);
        }
        if missed > 0 && context.for_a_person() {
            lines.extend(["(", &missed.to_string(), " more)\n"]);
        }
        let mut out = io::stdout().lock();
        if out.write_all(lines.as_bytes()).and_then(|()| out.flush()).is_err() {
            return Ok(Answer::from(String::new()));
        }
        drop(out);
        sleep(PERIOD).await;
    }
}

async fn drops_by_source(time: Duration, context: &Context) -> Result<Answer, Error> {
    let mut samples = Samples { context, after: None };
    let mut sources = trace::Sources::default();
    let mut left = time;
    loop {
        let DropSamples { packets, missed, .. } = samples.next().await?;
        sources.count(&packets, missed);
        if left.is_zero() {
            break;
        }
        let period = PERIOD.min(left);
        sleep(period).await;
        left -= period;
    }
    let rows = sources.rows();
    let mut answer = context.answer(&rows, |look| trace::by_source(&rows, look))?;
    if context.for_a_person() {
        answer.remarks.push(sources.remark(time));
    }
    Ok(answer)
}

pub(super) async fn explain(asked: Explain, context: &Context) -> Result<Answer, Error> {
    let packet = MadePacket::from(asked);
    let explanation: Explanation = context.client.send("/v1/explain", &packet).await?;
    context.answer(&explanation, |_look| trace::page(&explanation))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use clap::Parser;

    use super::super::execute;
    use super::*;
    use crate::agent_for_tests::Agent;
    use crate::args::{Cli, Format};
    use crate::render::Screen;

    async fn run(line: &str, agent: &Agent) -> Result<Answer, Error> {
        let screen = Screen { terminal: false, colour: false };
        let format = Format::Table;
        let context =
            Context { client: agent.client(), format, screen, progress: false, session: None };
        let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
        execute(cli.object, &context).await
    }

    fn sample(source: &str) -> String {
        format!(
            r#"{{"at_unix_ms":1000,"verdict":"firewall_drop","rule":"bad","interface":"eth0",
                "protocol":"tcp","source":"{source}","source_port":40000,"destination":"203.0.113.10",
                "destination_port":80,"length":60}}"#
        )
    }

    #[tokio::test]
    async fn sources_are_counted_from_now_on() {
        let asked = AtomicU64::new(0);
        let agent = Agent::start(move |request, _body| {
            let answer = if asked.fetch_add(1, Ordering::Relaxed) == 0 {
                assert_eq!(request, "GET /v1/drops/samples");
                r#"{"next":7,"missed":0,"packets":[]}"#.to_owned()
            } else {
                assert_eq!(request, "GET /v1/drops/samples?after=7");
                let packets = ["10.0.0.1", "10.0.0.2", "10.0.0.1"].map(sample).join(",");
                format!(r#"{{"next":7,"missed":4,"packets":[{packets}]}}"#)
            };
            (200, answer)
        });
        let answer = run("lb-ctl drops --by source --for 1ms", &agent).await.unwrap();
        assert_eq!(answer.text, "SOURCE    SAMPLES\n10.0.0.1        2\n10.0.0.2        1\n");
        assert_eq!(answer.remarks, ["3 packets sampled in 1ms, and 4 more that are not shown"]);
    }

    #[tokio::test]
    async fn a_packet_is_explained() {
        let agent = Agent::start(|request, body| {
            assert_eq!(request, "POST /v1/explain");
            assert_eq!(
                body,
                r#"{"source":"198.51.100.7","destination":"203.0.113.10","protocol":"tcp","destination_port":80}"#
            );
            let answer = r#"{"verdict":"to_backend","kind":"forwarded","help":"H.","interface":"eth0",
                "rule":"web","service":"shop","backend":"web1"}"#;
            (200, answer.into())
        });
        let line = "lb-ctl explain --src 198.51.100.7 --dst 203.0.113.10 --proto tcp --dport 80";
        let text = run(line, &agent).await.unwrap().text;
        assert_eq!(
            text,
            "\
verdict    to_backend (forwarded)
meaning    H.
interface  eth0
rule       web
service    shop
backend    web1
"
        );
    }
}
