//! The kernel's network configuration: interfaces, addresses, routes and neighbours.
//!
//! Everything goes through netlink; nothing calls a program. Each call acts in the network namespace
//! of the thread that made the socket.

mod address;
mod kernel;
mod link;
mod link_news;
mod neighbour;
mod resolver;

pub use address::{AddressError, Addresses, host_addresses};
pub use link::{Attached, Link, links};
pub use link_news::{follow_addresses, follow_links};
pub use resolver::Resolver;
