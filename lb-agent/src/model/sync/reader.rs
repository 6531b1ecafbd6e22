//! Reads fields of a message; whatever is missing is [`Wrong`], and nothing is ever out of bounds.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::wire::Wrong;

/// The rest of a message.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn bytes(&mut self, n: usize) -> Result<&'a [u8], Wrong> {
        let (bytes, rest) = self.0.split_at_checked(n).ok_or(Wrong)?;
        self.0 = rest;
        Ok(bytes)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Wrong> {
        self.bytes(N)?.try_into().map_err(|_| Wrong)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Wrong> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Wrong> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Wrong> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Wrong> {
        self.array().map(u64::from_be_bytes)
    }

    /// A text, after its length in one byte.
    pub(super) fn text(&mut self) -> Result<String, Wrong> {
        let length = self.u8()?;
        let bytes = self.bytes(length.into())?;
        std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| Wrong)
    }

    /// An address, after its family.
    pub(super) fn address(&mut self) -> Result<IpAddr, Wrong> {
        match self.u8()? {
            4 => self.array().map(|octets| Ipv4Addr::from(octets).into()),
            6 => self.array().map(|octets: [u8; 16]| Ipv6Addr::from(octets).into()),
            _ => Err(Wrong),
        }
    }

    pub(super) fn socket(&mut self) -> Result<SocketAddr, Wrong> {
        Ok(SocketAddr::new(self.address()?, self.u16()?))
    }
}

/// At most 255 bytes of a text, cut between letters, after their number.
pub(super) fn put_text(text: &str, bytes: &mut Vec<u8>) {
    let mut end = text.len().min(usize::from(u8::MAX));
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let cut = text.get(..end).unwrap_or_default();
    bytes.push(u8::try_from(cut.len()).unwrap_or_default());
    bytes.extend_from_slice(cut.as_bytes());
}

pub(super) fn put_address(address: IpAddr, bytes: &mut Vec<u8>) {
    match address {
        IpAddr::V4(address) => {
            bytes.push(4);
            bytes.extend_from_slice(&address.octets());
        }
        IpAddr::V6(address) => {
            bytes.push(6);
            bytes.extend_from_slice(&address.octets());
        }
    }
}

pub(super) fn put_socket(socket: SocketAddr, bytes: &mut Vec<u8>) {
    put_address(socket.ip(), bytes);
    bytes.extend_from_slice(&socket.port().to_be_bytes());
}
