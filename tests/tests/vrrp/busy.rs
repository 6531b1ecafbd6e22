//! Directors on a machine all of whose CPUs are busy.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{available_parallelism, scope};
use std::time::Duration;

use lb_tests::clock::{now, pause};
use lb_tests::pair::{Director, Pair};

use crate::cast::{holds, tables};

const FOR: Duration = Duration::from_mins(10);

/// How often the other director has taken over.
fn n_failovers(interval: &str) -> usize {
    let pair = Pair::new(0).unwrap();
    let start = |number, priority| {
        let tables = tables(priority, "preempt = true").replace("100ms", interval);
        Director::start(&pair, number, &tables).unwrap()
    };
    let lb1 = start(1, 200);
    lb1.wait_for("active").unwrap();
    let lb2 = start(2, 100);
    lb2.wait_for("backup").unwrap();
    let (is_over, end) = (AtomicBool::new(false), now() + FOR);
    scope(|scope| {
        for _ in 0..available_parallelism().unwrap().get() {
            scope.spawn(|| while !is_over.load(Ordering::Relaxed) {});
        }
        while now() < end {
            pause(Duration::from_secs(1));
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert_eq!(holds(&lb1), [true; 2]);
    let history = lb2.ctl_json(&["vrrp", "history", "--router", "vip"]).unwrap();
    let changes = history.as_array().unwrap().iter();
    changes.filter(|change| change["to"] == "active").count()
}

#[test]
#[ignore = "it takes twenty minutes, and all CPUs"]
fn hardly_any_address_moves_while_all_cpus_are_busy() {
    let [often, rare] = ["10ms", "100ms"].map(n_failovers);
    println!("{often} at 10 ms, {rare} at 100 ms");
    assert!(often <= 1 && rare == 0);
}
