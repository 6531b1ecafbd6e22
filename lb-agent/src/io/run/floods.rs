//! SYN floods as the packet path has noticed them: told in the log when they begin and end, and in the metrics.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use lb_common::layout::{SynCookies, socket};

use super::runtime::Runtime;
use crate::io::clock;
use crate::io::datapath::Cookies;
use crate::io::metrics::Flood;

/// The addresses that were answered for with cookies when it was last looked.
#[derive(Debug, Default)]
pub(super) struct Floods(BTreeSet<SocketAddr>);

impl Floods {
    /// Takes note of how it is now, and tells what has changed.
    fn note(&mut self, now: &[Flood]) {
        let now: BTreeSet<_> =
            now.iter().filter(|flood| flood.is_answered).map(|flood| flood.address).collect();
        for address in now.difference(&self.0) {
            tracing::warn!(%address, "SYN flood: SYNs are answered with cookies");
        }
        for address in self.0.difference(&now) {
            tracing::info!(%address, "the SYN flood is over: SYNs go to backends again");
        }
        self.0 = now;
    }
}

impl Runtime {
    /// Looks which listen addresses are flooded.
    pub(super) fn note_floods(&mut self) {
        let floods = self.floods();
        self.noted_floods.note(&floods);
    }

    /// Listen addresses that answer with cookies where they must.
    pub(super) fn floods(&self) -> Vec<Flood> {
        let now = clock::coarse();
        let listeners = self.agent.installed().listeners.iter();
        let automatic = listeners.filter(|(_, it)| it.syn_cookies == SynCookies::Auto.number());
        let floods = automatic.filter_map(|(id, listener)| {
            let address = socket(&listener.address, listener.port, listener.family)?;
            let Cookies { until, n_floods } = self.datapath.cookies(*id)?;
            let (service, is_answered) = (self.service_at(address), now < until);
            Some(Flood { service, address, is_answered, n_floods })
        });
        floods.collect()
    }

    fn service_at(&self, address: SocketAddr) -> String {
        let mut services = self.agent.config().services.iter();
        let service = services.find(|service| service.listen.contains(&address));
        service.map(|service| service.name.clone()).unwrap_or_default()
    }
}
