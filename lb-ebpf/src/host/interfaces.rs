//! The interfaces of tables in plain memory.

use lb_common::layout::Interface;

use super::HostTables;

impl HostTables {
    /// Adds an interface that Sluice is attached to.
    pub fn add_interface(&mut self, index: u32, mac: [u8; 6]) {
        self.note(index.into(), mac);
    }

    /// Gives an interface the MAC address of a virtual router too.
    pub fn add_virtual_mac(&mut self, index: u32, mac: [u8; 6]) {
        let [_, _, _, _, family, id] = mac;
        self.note(Interface::number(index, u16::from_be_bytes([family, id])), mac);
    }

    fn note(&mut self, number: u64, mac: [u8; 6]) {
        self.interfaces.insert(number, Interface { mac, reserved: [0; 2], index: number });
    }
}
