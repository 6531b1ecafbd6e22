//! Flows of the table as the API lists them.

use std::collections::BTreeMap;

use lb_common::api::{Flow, FlowList};
use lb_common::cell::{State, TICK_SHIFT};
use lb_common::layout::{self, Backend, Detail, HashKey};

use crate::io::clock;
use crate::io::datapath::{FlowEntry, FlowTable, Result};
use crate::io::message::FlowFilter;
use crate::model::config::Word;
use crate::model::views::Owner;

/// Lists the flows that match. `owners` says whose the backend ids are.
pub(super) fn list(
    table: &FlowTable,
    hash_key: HashKey,
    owners: &BTreeMap<u32, Owner>,
    filter: &FlowFilter,
) -> Result<FlowList> {
    let is_wanted = |id: u32| matches(filter, owners.get(&id));
    let is_detail_of = |detail: &Detail, backend: &Backend, tag: u64| {
        lb_ebpf::detail::detail_matches(&hash_key, detail, backend, false, tag)
    };
    let (total, entries) = table.list(clock::tick(), filter.limit, is_wanted, is_detail_of)?;
    let flows = entries.iter().filter_map(|entry| render(entry, owners.get(&entry.backend)?));
    Ok(FlowList { total, flows: flows.collect() })
}

fn matches(filter: &FlowFilter, owner: Option<&Owner>) -> bool {
    let is = |wanted: &Option<String>, name: Option<&String>| {
        wanted.as_ref().is_none_or(|wanted| Some(wanted) == name)
    };
    is(&filter.service, owner.and_then(|owner| owner.service.as_ref()))
        && is(&filter.backend, owner.and_then(|owner| owner.backend.as_ref()))
}

fn render(entry: &FlowEntry, owner: &Owner) -> Option<Flow> {
    let Detail { client, client_port, family, .. } = entry.detail;
    Some(Flow {
        protocol: owner.listener.protocol.word().to_owned(),
        client: layout::socket(&client, client_port, family)?,
        vip: owner.listener.address,
        service: owner.service.clone().unwrap_or_default(),
        backend: owner.backend.clone().unwrap_or_default(),
        backend_address: owner.address,
        state: state(entry.state).to_owned(),
        // A tick is 2^32 ns, so this is exact; ages wrap long before it would overflow.
        idle_seconds: (entry.idle_ticks << TICK_SHIFT) / 1_000_000_000,
    })
}

fn state(state: State) -> &'static str {
    match state {
        State::Syn | State::SynAck => "syn",
        State::Established => "established",
        State::HalfClosed => "half_closed",
        State::Closing => "closing",
        State::Udp => "udp",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::config::Protocol;
    use crate::model::tables::ListenerKey;

    fn owner(service: &str, backend: Option<&str>) -> Owner {
        let address = "203.0.113.10:80".parse().unwrap();
        Owner {
            service: Some(service.into()),
            backend: backend.map(str::to_owned),
            listener: ListenerKey { address, protocol: Protocol::Tcp },
            address: "192.0.2.11:8080".parse().unwrap(),
        }
    }

    fn filter(service: Option<&str>, backend: Option<&str>) -> FlowFilter {
        let own = |name: Option<&str>| name.map(str::to_owned);
        FlowFilter { limit: 10, service: own(service), backend: own(backend) }
    }

    fn entry() -> FlowEntry {
        let (client, client_port, family) = layout::endpoint("198.51.100.7:40000".parse().unwrap());
        let mut detail = <Detail as zerocopy::FromZeros>::new_zeroed();
        detail.client = client;
        detail.client_port = client_port;
        detail.family = family;
        FlowEntry { backend: 7, state: State::Established, idle_ticks: 2, detail }
    }

    #[test]
    fn a_filter_takes_the_flows_of_what_it_names() {
        let web1 = owner("shop", Some("web1"));
        assert!(matches(&filter(None, None), Some(&web1)));
        assert!(matches(&filter(None, None), None));
        assert!(matches(&filter(Some("shop"), Some("web1")), Some(&web1)));
        assert!(!matches(&filter(Some("shop"), Some("web2")), Some(&web1)));
        assert!(!matches(&filter(Some("mail"), None), Some(&web1)));
        assert!(!matches(&filter(Some("shop"), None), None));
    }

    #[test]
    fn a_flow_is_told_by_its_ends_and_its_owner() {
        let flow = render(&entry(), &owner("shop", None)).unwrap();
        let expected = Flow {
            protocol: "tcp".into(),
            client: "198.51.100.7:40000".parse().unwrap(),
            vip: "203.0.113.10:80".parse().unwrap(),
            service: "shop".into(),
            backend: String::new(),
            backend_address: "192.0.2.11:8080".parse().unwrap(),
            state: "established".into(),
            idle_seconds: 8,
        };
        assert_eq!(flow, expected);
    }
}
