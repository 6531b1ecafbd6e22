//! Proof that an advertisement comes from a director that has the key, and is no repetition.
//!
//! It travels as an option of the IP header, of a number that is free for experiments (RFC 4727), which others skip:
//! a number that rises with every advertisement of a director, and an HMAC of it, both addresses and the
//! advertisement.

use std::net::IpAddr;

use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::advert::extend;

/// Number of the option in IPv4 (RFC 4727 3.1).
const OPTION_V4: u8 = 0x5e;
/// Number of the destination option in IPv6 (RFC 4727 3.3); its first bits say that who does not know it skips it.
const OPTION_V6: u8 = 0x1e;
const NUMBER: usize = 8;
/// Half of the HMAC is sent (RFC 2104 5).
const CODE: usize = 16;
const PROOF: usize = NUMBER + CODE;
/// Number and length of the option before the proof, rounded up to what IPv4 counts in.
const AREA_V4: usize = 28;
/// With the header of the destination options, rounded up to what IPv6 counts in.
const AREA_V6: usize = 32;

/// What one director proves with, and another one checks with.
#[derive(Clone)]
pub struct Key(Hmac<Sha256>);

/// A director's proofs: the key, and the number of the next one.
#[derive(Clone, Debug)]
pub struct Prover {
    key: Key,
    next: u64,
}

/// What the options of a packet say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proved {
    /// There is no proof.
    Nothing,
    /// It is wrong.
    Wrong,
    /// It is right, and has this number.
    Number(u64),
}

impl std::fmt::Debug for Key {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Key")
    }
}

impl Key {
    fn code(
        &self,
        number: u64,
        (source, destination): (IpAddr, IpAddr),
        advert: &[u8],
    ) -> Hmac<Sha256> {
        let mut signed = number.to_be_bytes().to_vec();
        extend(&mut signed, source);
        extend(&mut signed, destination);
        signed.extend(advert);
        self.0.clone().chain_update(signed)
    }

    pub(super) fn check(&self, ends: (IpAddr, IpAddr), advert: &[u8], options: &[u8]) -> Proved {
        let kind = if ends.0.is_ipv4() { OPTION_V4 } else { OPTION_V6 };
        let Some(proof) = find(kind, options) else { return Proved::Nothing };
        let parts = proof.split_first_chunk::<NUMBER>();
        let Some((number, code)) = parts.filter(|(_, code)| code.len() == CODE) else {
            return Proved::Wrong;
        };
        let number = u64::from_be_bytes(*number);
        // The comparison takes as long whatever is wrong.
        match self.code(number, ends, advert).verify_truncated_left(code) {
            Ok(()) => Proved::Number(number),
            Err(_) => Proved::Wrong,
        }
    }
}

impl Prover {
    /// `run` is greater than that of every earlier start of this director.
    pub fn new(key: &[u8; 32], run: u32) -> Self {
        // RFC 2104 2: a key that is shorter than a block is filled up with zeros.
        let mut block = hmac::digest::Key::<Hmac<Sha256>>::default();
        block.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
        Self { key: Key(Mac::new(&block)), next: u64::from(run) << 32 }
    }

    pub(super) fn key(&self) -> &Key {
        &self.key
    }

    /// The options for an advertisement; in IPv6 without the two bytes that say what follows and how long they are.
    pub(super) fn prove(&mut self, ends: (IpAddr, IpAddr), advert: &[u8]) -> Vec<u8> {
        self.next += 1;
        let code = self.key.code(self.next, ends, advert).finalize().into_bytes();
        let kind = if ends.0.is_ipv4() { OPTION_V4 } else { OPTION_V6 };
        let area = if ends.0.is_ipv4() { AREA_V4 } else { AREA_V6 - 2 };
        // IPv4 counts the two bytes before the proof, IPv6 does not (RFC 791 3.1, RFC 8200 4.2).
        let counted = if ends.0.is_ipv4() { PROOF + 2 } else { PROOF };
        let mut options = vec![kind, u8::try_from(counted).unwrap_or_default()];
        options.extend(self.next.to_be_bytes());
        options.extend(code.iter().take(CODE));
        let rest = area.saturating_sub(options.len());
        // In IPv4 zero ends the list; in IPv6 the padding is an option of its own.
        if ends.0.is_ipv6() {
            options.extend([1, u8::try_from(rest.saturating_sub(2)).unwrap_or_default()]);
        }
        options.resize(area, 0);
        options
    }
}

/// The content of an option.
fn find(kind: u8, mut options: &[u8]) -> Option<&[u8]> {
    let before = if kind == OPTION_V4 { 2 } else { 0 };
    loop {
        let (first, rest) = options.split_first()?;
        options = match (*first, kind) {
            // The end of the list; in IPv6 one byte of padding.
            (0, OPTION_V4) => return None,
            (0, _) | (1, OPTION_V4) => rest,
            (found, _) => {
                let (length, content) = rest.split_first()?;
                let length = usize::from(*length).checked_sub(before)?;
                let (content, rest) = content.split_at_checked(length)?;
                if found == kind {
                    return Some(content);
                }
                rest
            }
        };
    }
}
