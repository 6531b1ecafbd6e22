//! Threads without which the agent is no agent. One that panics ends the process at once, as `kill -9` would: the packet
//! path goes on forwarding, addresses stay, and the service manager starts another agent. Unwinding would stand down,
//! or go on without the thread.

use std::process::abort;
use std::thread::panicking;

/// Ends the process if it is dropped by a panic, which has been reported by then.
#[derive(Debug)]
pub struct Vital(());

impl Vital {
    /// From here to the end of its scope.
    #[expect(clippy::new_without_default, reason = "it is made for its end")]
    pub fn new() -> Self {
        Self(())
    }

    /// Runs the whole of a thread.
    pub fn run<T>(work: impl FnOnce() -> T) -> T {
        let _vital = Self::new();
        work()
    }
}

impl Drop for Vital {
    fn drop(&mut self) {
        if panicking() {
            abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Output};
    use std::thread;

    use nix::libc::SIGABRT;

    use super::*;

    /// Set in a second run of the test, which is the process that ends.
    const END: &str = "SLUICE_TEST_VITAL";

    fn fall() {
        panic!("of all things");
    }

    /// Runs the test of this name as a process of its own.
    fn run_again(name: &str) -> Output {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let name = format!("io::vital::tests::{name}");
        command.args(["--exact", &name, "--nocapture"]).env(END, "1").output().unwrap()
    }

    fn assert_aborted(output: &Output) {
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.signal(), Some(SIGABRT), "{said}");
        assert!(said.contains("of all things"), "{said}");
    }

    #[test]
    fn a_vital_thread_that_panics_says_so_and_ends_the_process() {
        if std::env::var_os(END).is_some() {
            return drop(thread::spawn(|| Vital::run(fall)).join());
        }
        assert_aborted(&run_again("a_vital_thread_that_panics_says_so_and_ends_the_process"));
    }

    #[test]
    fn so_does_a_future() {
        if std::env::var_os(END).is_some() {
            let work = async {
                let _vital = Vital::new();
                tokio::task::yield_now().await;
                fall();
            };
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            return runtime.block_on(work);
        }
        assert_aborted(&run_again("so_does_a_future"));
    }
}
