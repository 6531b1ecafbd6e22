//! A cell as it is told: 19 bytes for IPv4 without full NAT, 31 for IPv6.
//!
//! ```text
//! kind (8 bits: state 3, reply, IPv6, source, deltas, tags) | backend (4) | idle seconds (2) |
//! interface (1) | MAC address of the way back (6) | client, port | [source, port] | [deltas (8)] | [tags (6)]
//! ```
//!
//! Addresses, ports, MAC addresses and tags stand as in packets, numbers in network order.

use lb_common::cell::State;
use lb_common::layout::{Address, Detail};
use zerocopy::{FromZeros, IntoBytes};

use super::reader::Reader;
use super::wire::Wrong;

const STATE: u8 = 7;
const REPLY: u8 = 8;
const IS_V6: u8 = 16;
/// The backend sees another source than the client.
const SOURCE: u8 = 32;
const DELTAS: u8 = 64;
const TAGS: u8 = 128;

/// A cell as it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// The teller's number of the backend.
    pub backend: u32,
    /// Where the flow stands.
    pub state: State,
    /// Whether it is the cell of the direction from backend to client.
    pub is_reply: bool,
    /// Whether sequence numbers are rewritten.
    pub is_translated: bool,
    /// Seconds since its last packet.
    pub idle_seconds: u16,
    /// The flow. `hop_interface` is the teller's number of an interface, at most 255; `protocol` is the
    /// backend's, and not told.
    pub detail: Detail,
}

impl Record {
    pub(super) fn encode(&self, bytes: &mut Vec<u8>) {
        let detail = &self.detail;
        let has_source = (detail.source, detail.source_port) != (detail.client, detail.client_port);
        let has_tags = detail.hop_tags != [0; 2] || detail.hop_tag_type != 0;
        let flag = |is_set, bit| if is_set { bit } else { 0 };
        bytes.push(
            state_number(self.state)
                | flag(self.is_reply, REPLY)
                | flag(detail.family == 6, IS_V6)
                | flag(has_source, SOURCE)
                | flag(self.is_translated, DELTAS)
                | flag(has_tags, TAGS),
        );
        bytes.extend_from_slice(&self.backend.to_be_bytes());
        bytes.extend_from_slice(&self.idle_seconds.to_be_bytes());
        bytes.push(u8::try_from(detail.hop_interface).unwrap_or_default());
        bytes.extend_from_slice(&detail.hop_neighbour);
        put_end(&detail.client, detail.client_port, detail.family, bytes);
        if has_source {
            put_end(&detail.source, detail.source_port, detail.family, bytes);
        }
        if self.is_translated {
            bytes.extend_from_slice(&detail.sequence_delta.to_be_bytes());
            bytes.extend_from_slice(&detail.timestamp_delta.to_be_bytes());
        }
        if has_tags {
            bytes.extend_from_slice(detail.hop_tags.as_bytes());
            bytes.extend_from_slice(detail.hop_tag_type.as_bytes());
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Wrong> {
        let kind = reader.u8()?;
        let has = |bit| kind & bit != 0;
        let state = State::from_number((kind & STATE).into()).ok_or(Wrong)?;
        let (backend, idle_seconds) = (reader.u32()?, reader.u16()?);
        let mut detail = Detail::new_zeroed();
        detail.family = if has(IS_V6) { 6 } else { 4 };
        detail.hop_interface = reader.u8()?.into();
        detail.hop_neighbour = reader.array()?;
        (detail.client, detail.client_port) = end(detail.family, reader)?;
        (detail.source, detail.source_port) = (detail.client, detail.client_port);
        if has(SOURCE) {
            (detail.source, detail.source_port) = end(detail.family, reader)?;
        }
        if has(DELTAS) {
            (detail.sequence_delta, detail.timestamp_delta) = (reader.u32()?, reader.u32()?);
        }
        if has(TAGS) {
            detail.hop_tags = [raw_u16(reader)?, raw_u16(reader)?];
            detail.hop_tag_type = raw_u16(reader)?;
        }
        let (is_reply, is_translated) = (has(REPLY), has(DELTAS));
        Ok(Self { backend, state, is_reply, is_translated, idle_seconds, detail })
    }
}

fn state_number(state: State) -> u8 {
    match state {
        State::Syn => 1,
        State::SynAck => 2,
        State::Established => 3,
        State::HalfClosed => 4,
        State::Closing => 5,
        State::Udp => 6,
    }
}

fn put_end(address: &Address, port: u16, family: u8, bytes: &mut Vec<u8>) {
    let length = if family == 6 { 16 } else { 4 };
    bytes.extend_from_slice(address.as_bytes().get(..length).unwrap_or_default());
    bytes.extend_from_slice(port.as_bytes());
}

fn end(family: u8, reader: &mut Reader<'_>) -> Result<(Address, u16), Wrong> {
    let mut address = Address::new_zeroed();
    let length = if family == 6 { 16 } else { 4 };
    for (byte, read) in address.as_mut_bytes().iter_mut().zip(reader.bytes(length)?) {
        *byte = *read;
    }
    Ok((address, raw_u16(reader)?))
}

/// As it stands in a packet.
fn raw_u16(reader: &mut Reader<'_>) -> Result<u16, Wrong> {
    reader.array().map(u16::from_ne_bytes)
}
