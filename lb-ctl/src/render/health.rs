//! What the probes say, and when they changed their minds.

use lb_common::api::{HealthChange, TargetHealth};

use super::Look;
use super::backend::health as word;
use super::table::{Column, Word, table};
use super::units::{span, time};

pub(crate) fn list(targets: &[TargetHealth], look: Look) -> String {
    let columns = [
        Column::new("SERVICE", |target: &TargetHealth| Word::from(&target.service)),
        Column::new("BACKEND", |target: &TargetHealth| Word::from(&target.backend)),
        Column::new("ADDRESS", |target: &TargetHealth| target.address.into()),
        Column::new("HEALTH", |target: &TargetHealth| word(target.health)),
        Column::new("SINCE", |target: &TargetHealth| span(target.since_seconds).into()).right(),
        Column::new("LAST PROBE", |target: &TargetHealth| Word::from(&target.last_result)),
        Column::new("TOOK", |target: &TargetHealth| {
            format!("{} ms", target.last_duration_ms).into()
        })
        .right()
        .wide(),
        Column::new("CONTRADICTING", |target: &TargetHealth| target.streak.into()).right().wide(),
    ];
    table(&columns, targets, look)
}

pub(crate) fn history(changes: &[HealthChange], look: Look) -> String {
    let columns = [
        Column::new("TIME", |change: &HealthChange| time(change.at_unix).into()),
        Column::new("SERVICE", |change: &HealthChange| Word::from(&change.service)),
        Column::new("BACKEND", |change: &HealthChange| Word::from(&change.backend)),
        Column::new("ADDRESS", |change: &HealthChange| change.address.into()).wide(),
        Column::new("FROM", |change: &HealthChange| word(change.from)),
        Column::new("TO", |change: &HealthChange| word(change.to)),
        Column::new("REASON", |change: &HealthChange| Word::from(&change.reason)),
    ];
    table(&columns, changes, look)
}

#[cfg(test)]
mod tests {
    use lb_common::api::Health;

    use super::*;

    #[test]
    fn a_target_shows_its_last_probe() {
        let target = TargetHealth {
            service: "shop".into(),
            backend: "web1".into(),
            address: "[2001:db8:1::11]:80".parse().unwrap(),
            health: Health::Down,
            streak: 1,
            last_result: "connection refused".into(),
            last_duration_ms: 3,
            since_seconds: 61,
        };
        assert_eq!(
            list(&[target], Look { wide: true, colour: false }),
            "\
SERVICE  BACKEND  ADDRESS              HEALTH  SINCE  LAST PROBE          TOOK  CONTRADICTING
shop     web1     [2001:db8:1::11]:80  down    1m 1s  connection refused  3 ms              1
"
        );
    }

    #[test]
    fn a_change_shows_when_and_why() {
        let change = HealthChange {
            at_unix: 1_795_243_562,
            service: "shop".into(),
            backend: "web1".into(),
            address: "192.0.2.11:80".parse().unwrap(),
            from: Health::Up,
            to: Health::Down,
            reason: "HTTP 503".into(),
        };
        assert_eq!(
            history(&[change], Look::default()),
            "\
TIME                  SERVICE  BACKEND  FROM  TO    REASON
2026-11-21T06:46:02Z  shop     web1     up    down  HTTP 503
"
        );
    }
}
