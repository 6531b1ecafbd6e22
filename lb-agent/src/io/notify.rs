//! What the service manager is told (`sd_notify`); nothing where there is none.
//!
//! The watchdog is fed by the core loop itself, so that a loop that hangs is noticed.

use std::io;
use std::time::Duration;

use sd_notify::NotifyState;

/// Traffic is balanced from now on.
pub fn ready(status: &str) {
    send(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// One line for `systemctl status`.
pub fn status(status: &str) {
    send(&[NotifyState::Status(status)]);
}

/// The configuration is being read again; [`ready`] ends it.
pub fn reloading() {
    // sd_notify(3): RELOADING=1 must come with the clock's value, or Type=notify-reload ignores it.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => send(&[NotifyState::Reloading, now]),
        Err(error) => report(&error),
    }
}

/// The agent is about to end.
pub fn stopping() {
    send(&[NotifyState::Stopping]);
}

/// The core loop turns.
pub fn alive() {
    send(&[NotifyState::Watchdog]);
}

/// How often [`alive`] must be said, if at all: at half the time after which the watchdog bites, as
/// `sd_watchdog_enabled(3)` recommends.
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2)
}

fn send(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        report(&error);
    }
}

fn report(error: &io::Error) {
    tracing::warn!("tell the service manager: {error}");
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;
    use std::process::Command;

    use super::*;

    /// Set in the process that [`the_service_manager_hears_every_state_in_order`] starts: the variables of
    /// `sd_notify` belong to a whole process, so the one that speaks is a second run of this test.
    const SPEAK: &str = "SLUICE_TEST_NOTIFY";

    fn speak() {
        assert_eq!(watchdog_interval(), Some(Duration::from_secs(5)));
        ready("2 services");
        reloading();
        ready("3 services");
        status("1 backend is down");
        alive();
        stopping();
    }

    #[test]
    fn the_service_manager_hears_every_state_in_order() {
        if std::env::var_os(SPEAK).is_some() {
            return speak();
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let name = "io::notify::tests::the_service_manager_hears_every_state_in_order";
        let speaker = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name])
            .env(SPEAK, "1")
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", "10000000")
            .output()
            .unwrap();
        assert!(speaker.status.success(), "{speaker:?}");
        manager.set_nonblocking(true).unwrap();
        let mut heard = Vec::new();
        let mut buffer = [0; 256];
        while let Ok(length) = manager.recv(&mut buffer) {
            heard.push(String::from_utf8(buffer[..length].to_vec()).unwrap());
        }
        let reloading = heard.remove(1);
        assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
        assert_eq!(
            heard,
            [
                "READY=1\nSTATUS=2 services\n",
                "READY=1\nSTATUS=3 services\n",
                "STATUS=1 backend is down\n",
                "WATCHDOG=1\n",
                "STOPPING=1\n"
            ]
        );
    }
}
