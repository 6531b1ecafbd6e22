//! The thread's place in the machine: in memory, and before others.

use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use thread_priority::unix::{
    RealtimeThreadSchedulePolicy, ThreadSchedulePolicy, set_thread_priority_and_policy,
    thread_native_id,
};
use thread_priority::{ThreadPriority, ThreadPriorityValue};

/// Above ordinary threads and the kernel's own that are not of real time; any other of real time that an operator
/// has set up goes first.
const PRIORITY: u8 = 2;

/// Locks the memory of this process and gives this thread real-time priority (`SCHED_FIFO`), as far as that is
/// allowed; tells what is not.
pub(super) fn raise() -> Result<(), String> {
    let problems: Vec<_> =
        [lock_memory(), run_first()].into_iter().filter_map(Result::err).collect();
    if problems.is_empty() {
        return Ok(());
    }
    Err(format!(
        "a busy machine may take this director for dead: {}; give the unit LimitRTPRIO={PRIORITY} and LimitMEMLOCK=infinity",
        problems.join("; ")
    ))
}

/// With a limit, later allocations of the whole process would fail.
fn lock_memory() -> Result<(), String> {
    let (limit, _) = getrlimit(Resource::RLIMIT_MEMLOCK).map_err(|error| error.to_string())?;
    if limit != RLIM_INFINITY && !nix::unistd::geteuid().is_root() {
        return Err("memory is not locked: RLIMIT_MEMLOCK".to_owned());
    }
    mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE)
        .map_err(|error| format!("memory is not locked: {error}"))
}

fn run_first() -> Result<(), String> {
    let fault = |error| format!("no real-time priority: {error:?}");
    let priority = ThreadPriorityValue::try_from(PRIORITY)?;
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
    let priority = ThreadPriority::Crossplatform(priority);
    set_thread_priority_and_policy(thread_native_id(), priority, policy).map_err(fault)
}
