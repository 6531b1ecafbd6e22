//! Which director has a VIP, where virtual routers decide that.

use std::collections::BTreeMap;
use std::net::IpAddr;

use lb_ebpf::adopt::Holder;

/// The VIPs of virtual routers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vips(BTreeMap<IpAddr, bool>);

impl Vips {
    /// Each with whether this director has it.
    pub fn new(vips: impl IntoIterator<Item = (IpAddr, bool)>) -> Self {
        Self(vips.into_iter().collect())
    }

    /// Who has an address.
    pub fn holder(&self, vip: IpAddr) -> Holder {
        match self.0.get(&vip) {
            None => Holder::Unknown,
            Some(true) => Holder::Here,
            Some(false) => Holder::There,
        }
    }
}
