//! Records that the packet path logs, if its object was built to: they go into the agent's own log.

use std::time::Duration;

use aya_log::EbpfLogger;
use tokio::time::interval;

use crate::io::datapath::Datapath;

/// Time between two looks at the records: they lie in memory that is shared with the kernel, so a look
/// costs no system call.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Forwards records from now on; a program without a log has none, and that is as it should be.
pub(super) fn forward(datapath: &Datapath) {
    let interfaces = datapath.interfaces().unwrap_or_default();
    let Some(interface) = interfaces.first() else { return };
    // `tracing-subscriber` has installed its bridge as the logger of the `log` facade.
    match EbpfLogger::init_from_id(interface.program_id) {
        Ok(logger) => drop(tokio::spawn(follow(logger))),
        Err(error) => tracing::debug!("the packet path keeps no log: {error}"),
    }
}

async fn follow<T: log::Log>(mut logger: EbpfLogger<T>) {
    let mut look = interval(LOOK_EVERY);
    loop {
        look.tick().await;
        logger.flush();
    }
}
