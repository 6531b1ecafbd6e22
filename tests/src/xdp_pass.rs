//! An XDP program that lets every packet pass, as an ELF object made here: it needs no compiler for BPF.
//!
//! A veth that answers with `XDP_TX` wakes its peer only if the peer has an XDP program (`veth_xdp_flush` in
//! drivers/net/veth.c, Linux 6.18); with GRO alone the frame lies there until something else wakes it.
//! Tests also use it as a program that belongs to somebody else.

use std::path::Path;

use anyhow::{Context, Result};
use aya::Ebpf;
use aya::programs::links::FdLink;
use aya::programs::{Xdp, xdp::XdpMode};

use crate::link::End;

/// Its name, as the kernel lists it.
pub const NAME: &str = "pass_all";

/// Attaches the program in native mode; it stays as long as its link's pin, a file of its own in `folder`.
pub fn attach(end: End<'_>, folder: &Path) -> Result<()> {
    let pin = folder.join(format!("{}-{}", end.namespace.name(), end.interface));
    end.namespace
        .enter(|| attach_here(end.interface, &pin))?
        .with_context(|| format!("attach an XDP program to {}", end.interface))
}

fn attach_here(interface: &str, pin: &Path) -> Result<()> {
    let mut object = Ebpf::load(&object())?;
    let program: &mut Xdp = object.program_mut(NAME).context("find the program")?.try_into()?;
    program.load()?;
    let id = program.attach(interface, XdpMode::Driver)?;
    let link: FdLink = program.take_link(id)?.try_into()?;
    if pin.exists() {
        std::fs::remove_file(pin)?;
    }
    link.pin(pin)?;
    Ok(())
}

/// `r0 = XDP_PASS; exit`, eight bytes each.
const PROGRAM: [u8; 16] = [0xb7, 0, 0, 0, 2, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];
const LICENSE: [u8; 4] = *b"GPL\0";
const NAMES: [u8; 36] = *b"\0xdp\0license\0strtab\0symtab\0pass_all\0";
// Where each begins in `NAMES`.
const XDP: u32 = 1;
const LICENSE_NAME: u32 = 5;
const STRTAB: u32 = 13;
const SYMTAB: u32 = 20;
const PASS_ALL: u32 = 27;

/// Header, program at 64, license at 80, names at 84, symbols at 128, section headers at 176 (System V ABI,
/// ELF-64, as 32-bit words).
fn object() -> Vec<u8> {
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    // Relocatable (1), for BPF (247); sections of 64 bytes, five of them, their names in number 3.
    file.extend(words([247 << 16 | 1, 1, 0, 0, 0, 0, 176, 0, 0, 64, 64 << 16, 3 << 16 | 5]));
    file.extend(PROGRAM);
    file.extend(LICENSE);
    file.extend(NAMES);
    // After the symbol that is none, at 152: a global function (0x12) in section 1.
    file.resize(152, 0);
    file.extend(words([PASS_ALL, 1 << 16 | 0x12, 0, 0, 16, 0]));
    file.extend([0; 64]);
    file.extend(section(XDP, 1, 6, [64, 16], [0; 4]));
    file.extend(section(LICENSE_NAME, 1, 3, [80, 4], [0; 4]));
    file.extend(section(STRTAB, 3, 0, [84, 36], [0; 4]));
    // Its names are in section 3, its first global symbol is number 1, an entry has 24 bytes.
    file.extend(section(SYMTAB, 2, 0, [128, 48], [3, 1, 8, 24]));
    file
}

/// A section header: where the section lies and how long it is; link, info, alignment and size of an entry.
fn section(name: u32, kind: u32, flags: u32, place: [u32; 2], more: [u32; 4]) -> Vec<u8> {
    let ([at, length], [link, info, alignment, entry]) = (place, more);
    let [start, end] =
        [[name, kind, flags, 0, 0, 0, at, 0], [length, 0, link, info, alignment, 0, entry, 0]];
    words([start, end].concat())
}

fn words(words: impl IntoIterator<Item = u32>) -> Vec<u8> {
    words.into_iter().flat_map(u32::to_le_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_where_the_sections_say() {
        for (at, name) in [
            (XDP, "xdp"),
            (LICENSE_NAME, "license"),
            (STRTAB, "strtab"),
            (SYMTAB, "symtab"),
            (PASS_ALL, NAME),
        ] {
            let at = usize::try_from(at).unwrap();
            assert!(NAMES[at..].starts_with(format!("{name}\0").as_bytes()), "{name}");
        }
        assert_eq!(object().len(), 176 + 5 * 64);
    }
}
