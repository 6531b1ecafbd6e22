//! Least connections with the slots that are desired here, drawn by the packet path.

use etherparse::{PacketBuilder, TcpHeader};
use lb_common::layout::{Load, Slot};
use lb_common::verdict::Verdict;
use lb_ebpf::family::TCP;
use lb_ebpf::host::{self, CLOSED, HostFrame, HostTables};
use proptest::prelude::*;

use super::*;

const INTERFACE: u32 = 2;
const MAC: [u8; 6] = [2; 6];

/// A packet path with the slots of a listener.
struct Drawn {
    tables: HostTables,
    /// Backend ids and weights.
    members: Vec<(u32, u32)>,
    /// The flows that are open.
    open: std::ops::Range<u32>,
}

impl Drawn {
    fn of(listener: &Listener) -> Self {
        let mut tables = HostTables::new(16_384, [1, 2]);
        tables.add_interface(INTERFACE, MAC);
        tables.add_vip(at(VIP).ip(), CLOSED);
        let id = tables.add_listener(at(VIP), TCP);
        let hop = host::NextHop { interface: INTERFACE, neighbour: [4; 6], source: MAC };
        let members = listener.members.iter();
        let members: Vec<_> = members
            .map(|(address, weight)| (tables.add_backend(id, *address, hop), *weight))
            .collect();
        let slot = |turn: &u32| {
            let (backend, weight) = members[usize::try_from(*turn).unwrap()];
            Slot { backend, weight }
        };
        let slots: Vec<_> = listener.turns.iter().map(slot).collect();
        tables.set_weighted_slots(id, &slots);
        tables.set_scheduler(id, listener.draw.scheduler);
        Self { tables, members, open: 0..0 }
    }

    /// A packet of the client with this number.
    fn send(&self, number: u32, flags: impl Fn(&mut TcpHeader)) -> Verdict {
        let [_, high, middle, low] = number.to_be_bytes();
        let IpAddr::V4(vip) = at(VIP).ip() else { panic!("not IPv4") };
        let mut tcp = TcpHeader::new(4_711, at(VIP).port(), 1, 1_000);
        flags(&mut tcp);
        let builder = PacketBuilder::ethernet2([3; 6], MAC);
        let builder = builder.ipv4([10, high, middle, low], vip.octets(), 64).tcp_header(tcp);
        let mut frame = Vec::new();
        builder.write(&mut frame, &[]).unwrap();
        self.tables.send(HostFrame::new(&frame, INTERFACE)).0.verdict
    }

    fn open_until(&mut self, n_open: u32) {
        while self.open.end - self.open.start < n_open {
            let verdict = self.send(self.open.end, |tcp| tcp.syn = true);
            assert_eq!(verdict, Verdict::ToBackend);
            self.open.end += 1;
        }
    }

    /// Ends those that are open for longest.
    fn end_until(&mut self, n_open: u32) {
        while self.open.end - self.open.start > n_open {
            assert_eq!(self.send(self.open.start, |tcp| tcp.rst = true), Verdict::ToBackend);
            self.open.start += 1;
        }
    }

    /// Nobody has twice what its weight says.
    fn check(&self) -> Result<(), TestCaseError> {
        let n_open = u64::from(self.open.end - self.open.start);
        let sum: u64 = self.members.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let mut counted = 0;
        for (id, weight) in &self.members {
            let Load { base, change, .. } = self.tables.load_of(*id);
            let (flows, mean) = (Load::flows(base, change), n_open * u64::from(*weight) / sum);
            prop_assert!(flows <= 2 * mean, "{flows} of {n_open} where {mean} are fair");
            counted += flows;
        }
        prop_assert_eq!(counted, n_open);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// From a hundred flows for each backend on, while they begin and end.
    #[test]
    fn least_connections_is_never_worse_than_twice_the_mean(
        weights in prop::collection::vec(200u32..=1_000, 2..=8),
        each in 200u32..=1_000,
        is_weighted: bool,
    ) {
        let n_backends = u8::try_from(weights.len()).unwrap();
        let mut service = shop(n_backends);
        let n_backends = u32::from(n_backends);
        service.scheduler = Scheduler::LeastConnections;
        if is_weighted {
            service.scheduler = Scheduler::WeightedLeastConnections;
        }
        for (backend, weight) in service.backends.iter_mut().zip(weights) {
            backend.weight = weight;
        }
        let mut drawn = Drawn::of(&serve(&service, up).listeners[&key(VIP)]);
        for n_open in [100, each, 1_000] {
            drawn.open_until(n_open * n_backends);
            drawn.check()?;
        }
        for n_open in [each, 100] {
            drawn.end_until(n_open * n_backends);
            drawn.check()?;
            drawn.open_until(1_000 * n_backends);
            drawn.check()?;
        }
    }
}
