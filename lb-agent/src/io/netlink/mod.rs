//! The kernel's network configuration: interfaces, addresses, routes and neighbours.
//!
//! Everything goes through netlink; nothing calls a program. Each call acts in the network namespace
//! of the thread that made the socket.

mod address;
mod kernel;
mod link;
mod neighbour;
mod resolver;

pub use address::{AddressError, Addresses};
pub use link::{Attached, Link, links};
pub use resolver::Resolver;
