//! Tells when an interface or an address has changed; what it is like now is read anew by whoever is told.

use std::io;
use std::time::Duration;

use futures::StreamExt;
use rtnetlink::{MulticastGroup, new_multicast_connection};
use tokio::sync::mpsc;
use tokio::time::sleep;

/// Changes that come within this time of each other are told once.
const SETTLE: Duration = Duration::from_millis(50);

/// Sends `news` after every change of an interface in the network namespace of this thread.
///
/// Should the kernel's messages end (too many at once), nothing is told any more: look now and then anyway.
pub fn follow_links<T: Send + 'static>(
    told: mpsc::Sender<T>,
    news: impl Fn() -> T + Send + 'static,
) -> io::Result<()> {
    follow(&[MulticastGroup::Link], told, news)
}

/// The same after every change of an interface or an address.
pub fn follow_addresses<T: Send + 'static>(
    told: mpsc::Sender<T>,
    news: impl Fn() -> T + Send + 'static,
) -> io::Result<()> {
    let groups = [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
    follow(&groups, told, news)
}

fn follow<T: Send + 'static>(
    groups: &[MulticastGroup],
    told: mpsc::Sender<T>,
    news: impl Fn() -> T + Send + 'static,
) -> io::Result<()> {
    let (connection, handle, mut messages) = new_multicast_connection(groups)?;
    tokio::spawn(connection);
    tokio::spawn(async move {
        while messages.next().await.is_some() {
            sleep(SETTLE).await;
            while messages.try_recv().is_ok() {}
            if told.send(news()).await.is_err() {
                break;
            }
        }
        // The connection lives as long as a handle does.
        drop(handle);
    });
    Ok(())
}
