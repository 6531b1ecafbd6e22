//! `cargo xtask demo failover`: two directors; the Active one is silent, loses its link, is stopped, is killed; what clients see.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lb_tests::binaries::Binaries;
use lb_tests::pair::Pair;
use lb_tests::pulse::Beat;
use serde::Serialize;

use super::Story;
use crate::failover::{Directors, Fault, Setup, System, Trial, attempt, pair};

const ADVERTS: [Duration; 3] =
    [Duration::from_millis(10), Duration::from_millis(100), Duration::from_secs(1)];
const FAULTS: [Fault; 4] = [Fault::Silent, Fault::Link, Fault::Stop, Fault::Kill];
const N_OPEN: usize = 50;
/// Three intervals and the skew are the protocol's; a busy machine may need some time more.
const PROMISE: (u32, Duration) = (4, Duration::from_millis(250));
/// A picture is no wider.
const COLUMNS: usize = 72;
/// Columns before the fault, and after the silence.
const AROUND: u32 = 12;

/// The numbers of all failovers; with `--json` they are all that is printed.
#[derive(Clone, Debug, Default, Serialize)]
struct Report {
    /// Requests of the ordinary client.
    requests: usize,
    /// Those that failed.
    failed: usize,
    /// Connections that were open at a failover, of all failovers.
    open: usize,
    /// Those that went on.
    surviving: usize,
    /// One failover each.
    cases: Vec<Case>,
    /// Whether everything went as promised.
    ok: bool,
}

/// One failover.
#[derive(Clone, Debug, Serialize)]
struct Case {
    fault: &'static str,
    advert_ms: u128,
    /// Milliseconds without an answer.
    gap_ms: u128,
    requests: usize,
    failed: usize,
    open: usize,
    surviving: usize,
    longest_stall_ms: u128,
    ok: bool,
}

/// Shows all faults at all intervals; fails unless every one went as promised.
pub(super) fn run(binaries: &Binaries, story: Story, json: bool) -> Result<ExitCode> {
    story.begin("Laying out network namespaces: a client, two directors, two backends");
    let pair = pair()?;
    story.say("   client --- front switch --- lb1 --- back switch --- web1, web2");
    story.say("                      `------- lb2 -------'");
    let mut report = Report::default();
    for advert in ADVERTS {
        play(&pair, binaries, advert, story, &mut report)?;
    }
    report.ok = report.cases.iter().all(|case| case.ok);
    let Report { requests, failed, open, surviving, .. } = report;
    let numbers = format!(
        "{requests} requests, {failed} failed; {surviving} of {open} open connections went on"
    );
    let word = if report.ok { "Everything went as promised" } else { "Not as promised" };
    story.say(&format!("\n{word}: {numbers}."));
    if json {
        println!("{}", serde_json::to_string(&report).context("write the report")?);
    }
    Ok(if report.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn play(
    pair: &Pair,
    binaries: &Binaries,
    advert: Duration,
    story: Story,
    report: &mut Report,
) -> Result<()> {
    story.begin(&format!("Adverts every {} ms", advert.as_millis()));
    let setup = Setup { system: System::Sluice, advert, has_preferred: false };
    let versions = [binaries.clone(), binaries.clone()];
    let mut directors = Directors::start(pair, &versions, setup)?;
    for fault in FAULTS {
        let name = format!("lb{}", directors.active());
        let trial = attempt(&mut directors, fault, N_OPEN)?;
        directors.recover(fault)?;
        let case = Case::of(fault, advert, &trial);
        story.say(&format!("\n   {}, {name}", case.fault));
        tell(&trial, &case, directors.active(), story);
        report.requests += case.requests;
        report.failed += case.failed;
        report.open += case.open;
        report.surviving += case.surviving;
        report.cases.push(case);
    }
    Ok(())
}

fn tell(trial: &Trial, case: &Case, active: usize, story: Story) {
    let (picture, width) = picture(&trial.beats, trial.fault_at, trial.silence);
    story.say(&format!("   {picture}"));
    story.say(&format!("   answers in each {} ms; the fault at |", width.as_millis()));
    story.say(&format!(
        "   lb{active} is Active; {} ms without an answer; {} of {} open connections go on, none waited for longer \
         than {} ms; {} of {} requests of an ordinary client failed",
        case.gap_ms, case.surviving, case.open, case.longest_stall_ms, case.failed, case.requests
    ));
}

impl Case {
    fn of(fault: Fault, advert: Duration, trial: &Trial) -> Self {
        let (intervals, more) = PROMISE;
        let surviving = trial.open - trial.broken;
        // Of the one ordinary client: what is under way when a machine dies may be lost.
        let under_way = usize::from(matches!(fault, Fault::Silent | Fault::Link));
        Self {
            fault: fault.name(),
            advert_ms: advert.as_millis(),
            gap_ms: trial.silence.as_millis(),
            requests: trial.requests,
            failed: trial.failed,
            open: trial.open,
            surviving,
            longest_stall_ms: trial.longest_stall.as_millis(),
            ok: trial.broken == 0
                && trial.failed <= under_way
                && trial.silence <= advert * intervals + more,
        }
    }
}

/// Bars as high as answers are many, and the time that each stands for.
fn picture(beats: &[Beat], fault_at: Instant, silence: Duration) -> (String, Duration) {
    const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let is_short = silence < Duration::from_millis(400);
    let width = Duration::from_millis(if is_short { 10 } else { 100 });
    let start = fault_at.checked_sub(width * AROUND).unwrap_or(fault_at);
    let column = |beat: &Beat| {
        let since = beat.at.checked_duration_since(start)?;
        usize::try_from(since.as_nanos() / width.as_nanos()).ok().filter(|at| *at < COLUMNS)
    };
    let mut counts = [0_usize; COLUMNS];
    for at in beats.iter().filter(|beat| beat.is_answered).filter_map(column) {
        counts.iter_mut().skip(at).take(1).for_each(|count| *count += 1);
    }
    let shown = beats.iter().filter_map(column).max().map_or(0, |last| last + 1);
    let most = counts.iter().copied().max().unwrap_or(0).max(1);
    let bar = |count: usize| BARS.get((count * 8).div_ceil(most)).copied().unwrap_or(' ');
    let mut bars: Vec<char> = counts.iter().take(shown).map(|count| bar(*count)).collect();
    let at = usize::try_from(AROUND).unwrap_or_default().min(bars.len());
    bars.insert(at, '|');
    (bars.into_iter().collect(), width)
}

#[cfg(test)]
mod tests {
    use lb_tests::clock::now;

    use super::*;

    #[test]
    fn a_picture_shows_the_answers_before_the_fault_the_silence_and_those_after_it() {
        let start = now();
        let at = |ms: u32| start + Duration::from_millis(1) * ms;
        let beat = |ms: u32| Beat {
            at: at(ms),
            took: Duration::ZERO,
            is_answered: !(120..150).contains(&ms),
        };
        let beats: Vec<_> = (0..200).map(beat).collect();
        let (picture, width) = picture(&beats, at(120), Duration::from_millis(30));
        assert_eq!(picture, "████████████|   █████");
        assert_eq!(width, Duration::from_millis(10));
    }
}
