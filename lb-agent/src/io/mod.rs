//! The daemon's hands: kernel, network, clock and files. What to do is decided in `model`.

pub mod api;
pub mod causes;
pub mod clock;
pub mod datapath;
pub mod doctor;
pub mod frame;
pub mod memory;
pub mod message;
pub mod metrics;
pub mod netlink;
pub mod notify;
pub mod probe;
pub mod run;
pub mod store;
pub mod sync;
pub mod vital;
pub mod vrrp;
