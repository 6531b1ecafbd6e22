//! The daemon's hands: kernel, network, clock and files. What to do is decided in `model`.

pub mod clock;
pub mod datapath;
pub mod netlink;
