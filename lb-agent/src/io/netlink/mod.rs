//! The kernel's network configuration: interfaces, addresses, routes and neighbours.
//!
//! Everything goes through netlink; nothing calls a program. Each call acts in the network namespace
//! of the thread that made the socket.

mod address;
mod ask;
mod kernel;
mod link;
mod link_news;
mod macvlan;
mod neighbour;
mod resolver;
mod sync;

pub use address::{AddressError, Addresses, host_addresses};
pub use link::{Attached, Link, links};
pub use link_news::{follow_addresses, follow_links};
pub use macvlan::{Arp, add_macvlan, remove_link, set_arp, set_link_up};
pub use resolver::Resolver;
pub use sync::{AddressScope, News, add_address, addresses, remove_address};
