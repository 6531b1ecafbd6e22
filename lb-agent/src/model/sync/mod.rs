//! Replication of the flow table between directors: what is told, and what is made of it. No sockets, no
//! clocks; `io::sync` has those.
//!
//! Each director tells its peers of its own cells, over a connection that it opens to each of them. A cell is
//! told without its place, its hash and its backend id, which differ from host to host: [`record`] has the flow
//! in full, and names its [`Server`] by what it is. One connection goes one way:
//!
//! ```text
//! teller -> listener   hello, servers, services, interfaces, flows ..., mark 1, flows ..., mark 2 (whole) ...
//! listener -> teller   hello, seen 1, seen 2 ..., again (when it has learned of a server)
//! ```
//!
//! The teller keeps a copy of what it told; a new connection begins with nothing told. So a bulk transfer is the
//! same as telling what changes, a slow peer makes changes coalesce instead of queueing up, and a listener takes
//! in the same cell any number of times.

mod listening;
mod meter;
mod news;
mod reader;
mod record;
mod server;
mod services;
mod telling;
#[cfg(test)]
mod tests;
mod vips;
mod wire;

pub use listening::{Listening, Taken};
pub use meter::{Meter, Rate};
pub use news::{is_news, seconds, ticks};
pub use record::Record;
pub use server::Server;
pub use services::{Offer, Services, Terms};
pub use telling::Telling;
pub use vips::Vips;
pub use wire::{Interface, MAX_RECORDS, Message, VERSION, Wrong};
