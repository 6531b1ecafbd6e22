//! The filter, worked out from what the tables hold whenever it is asked.

use lb_common::filter::{Mark, of_backend, of_listener, of_vip};

use super::HostTables;

impl HostTables {
    /// All marks that the agent would have set.
    pub fn marks(&self) -> impl Iterator<Item = Mark> {
        let v4 = self.vips_v4.keys().map(|address| of_vip(&[*address, 0, 0, 0]));
        let v6 = self.vips_v6.keys().map(of_vip);
        let listeners_v4 = self
            .listener_ids_v4
            .keys()
            .map(|key| of_listener(&[key.address, 0, 0, 0], key.port, key.protocol));
        let listeners_v6 = self
            .listener_ids_v6
            .keys()
            .map(|key| of_listener(&key.address, key.port, key.protocol));
        let backends = self.backends.iter().filter_map(of_backend);
        v4.chain(v6).chain(listeners_v4).chain(listeners_v6).chain(backends)
    }

    pub(super) fn filter_word(&self, word: u32) -> u64 {
        let its = self.marks().filter(|(number, _)| *number == word);
        its.fold(0, |bits, (_, more)| bits | more)
    }
}
