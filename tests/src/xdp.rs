//! XDP programs for the ends of wires, as ELF objects made here: they need no compiler for BPF.
//!
//! A veth that answers with `XDP_TX` wakes its peer only if the peer has an XDP program (`veth_xdp_flush` in
//! drivers/net/veth.c, Linux 6.18); with GRO alone the frame lies there until something else wakes it.

use std::path::Path;

use anyhow::{Context, Result};
use aya::Ebpf;
use aya::programs::links::FdLink;
use aya::programs::{Xdp, xdp::XdpMode};

use crate::link::End;

/// A program's instructions, eight bytes each.
#[derive(Clone, Copy, Debug)]
pub struct Program<'p>(&'p [u64]);

impl<'p> Program<'p> {
    /// One with these instructions.
    pub fn of(instructions: &'p [u64]) -> Self {
        Self(instructions)
    }
}

/// Its name, as the kernel lists it.
pub const NAME: &str = "of_tests";

/// Lets every packet pass.
pub const PASS: Program<'static> = Program(&[
    0x0000_0002_0000_00b7, // r0 = XDP_PASS
    0x0000_0000_0000_0095, // exit
]);

/// Gives every packet a VLAN tag of priority 5 and VLAN 0, which kernels without VLANs accept too
/// (IEEE 802.1Q section 6.9.1: such a tag tells of the priority only).
pub const TAG: Program<'static> = Program(&[
    0x0000_0000_0000_16bf, // r6 = r1
    0xffff_fffc_0000_02b7, // r2 = -4
    0x0000_002c_0000_0085, // r0 = bpf_xdp_adjust_head(r1, r2)
    0x0000_0000_000a_0055, // if r0 != 0 goto pass
    0x0000_0000_0000_6261, // r2 = data
    0x0000_0000_0004_6361, // r3 = data_end
    0x0000_0000_0000_24bf, // r4 = r2
    0x0000_0012_0000_0407, // r4 += 18
    0x0000_0000_0005_342d, // if r4 > r3 goto pass
    0x0000_0000_0004_2579, // r5 = the destination's MAC address and a part of the source's
    0x0000_0000_0000_527b, // move it to the front
    0x0000_0000_000c_2561, // r5 = the rest of the source's
    0x0000_0000_0008_5263, // move it too
    0x00a0_0081_000c_0262, // behind them: 0x8100, 0xa000
    0x0000_0002_0000_00b7, // pass: r0 = XDP_PASS
    0x0000_0000_0000_0095, // exit
]);

/// Loses one packet of 64 by chance.
pub const LOSE: Program<'static> = Program(&[
    0x0000_0007_0000_0085, // r0 = bpf_get_prandom_u32()
    0x0000_003f_0000_0057, // r0 &= 63
    0x0000_0000_0002_0055, // if r0 != 0 goto pass
    0x0000_0001_0000_00b7, // r0 = XDP_DROP
    0x0000_0000_0000_0095, // exit
    0x0000_0002_0000_00b7, // pass: r0 = XDP_PASS
    0x0000_0000_0000_0095, // exit
]);

/// Attaches a program in native mode; it stays as long as its link's pin, a file of its own in `folder`.
pub fn attach(program: Program<'_>, end: End<'_>, folder: &Path) -> Result<()> {
    let pin = folder.join(format!("{}-{}", end.namespace.name(), end.interface));
    end.namespace
        .enter(|| attach_here(program, end.interface, &pin))?
        .with_context(|| format!("attach an XDP program to {}", end.interface))
}

/// Loads an object with the program alone.
pub fn load(program: Program<'_>) -> Result<Ebpf> {
    Ok(Ebpf::load(&object(program))?)
}

fn attach_here(program: Program<'_>, interface: &str, pin: &Path) -> Result<()> {
    if pin.exists() {
        std::fs::remove_file(pin)?;
    }
    let mut object = load(program)?;
    let program: &mut Xdp = object.program_mut(NAME).context("find the program")?.try_into()?;
    program.load()?;
    let id = program.attach(interface, XdpMode::Driver)?;
    let link: FdLink = program.take_link(id)?.try_into()?;
    link.pin(pin)?;
    Ok(())
}

const LICENSE: [u8; 8] = *b"GPL\0\0\0\0\0";
const NAMES: [u8; 40] = *b"\0xdp\0license\0strtab\0symtab\0of_tests\0\0\0\0\0";
// Where each begins in `NAMES`.
const XDP: u32 = 1;
const LICENSE_NAME: u32 = 5;
const STRTAB: u32 = 13;
const SYMTAB: u32 = 20;
const OF_TESTS: u32 = 27;

/// Header, license at 64, names at 72, symbols at 112, section headers at 160, program at 480 (System V ABI,
/// ELF-64, as 32-bit words).
fn object(program: Program<'_>) -> Vec<u8> {
    let length = program.0.iter().fold(0, |length, _| length + 8);
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    // Relocatable (1), for BPF (247); sections of 64 bytes, five of them, their names in number 3.
    file.extend(words([247 << 16 | 1, 1, 0, 0, 0, 0, 160, 0, 0, 64, 64 << 16, 3 << 16 | 5]));
    file.extend(LICENSE);
    file.extend(NAMES);
    // A symbol that is none, then a global function (0x12) in section 1.
    file.extend([0; 24]);
    file.extend(words([OF_TESTS, 1 << 16 | 0x12, 0, 0, length, 0]));
    file.extend([0; 64]);
    file.extend(section(XDP, 1, 6, [480, length], [0; 4]));
    file.extend(section(LICENSE_NAME, 1, 3, [64, 4], [0; 4]));
    file.extend(section(STRTAB, 3, 0, [72, 40], [0; 4]));
    // Its names are in section 3, its first global symbol is number 1, an entry has 24 bytes.
    file.extend(section(SYMTAB, 2, 0, [112, 48], [3, 1, 8, 24]));
    file.extend(program.0.iter().flat_map(|instruction| instruction.to_le_bytes()));
    file
}

/// A section header: where the section lies and how long it is; link, info, alignment and size of an entry.
fn section(name: u32, kind: u32, flags: u32, place: [u32; 2], more: [u32; 4]) -> Vec<u8> {
    let ([at, length], [link, info, alignment, entry]) = (place, more);
    let start = [name, kind, flags, 0, 0, 0, at, 0];
    words(start.into_iter().chain([length, 0, link, info, alignment, 0, entry, 0]))
}

fn words(words: impl IntoIterator<Item = u32>) -> Vec<u8> {
    words.into_iter().flat_map(u32::to_le_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_program_are_where_the_sections_say() {
        for (at, name) in [
            (XDP, "xdp"),
            (LICENSE_NAME, "license"),
            (STRTAB, "strtab"),
            (SYMTAB, "symtab"),
            (OF_TESTS, NAME),
        ] {
            let at = usize::try_from(at).unwrap();
            assert!(NAMES[at..].starts_with(format!("{name}\0").as_bytes()), "{name}");
        }
        assert_eq!(object(PASS).len(), 480 + 16);
    }
}
