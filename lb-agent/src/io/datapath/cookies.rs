//! The program that answers SYNs with cookies comes later than all else: the kernel takes a while to verify it, and
//! packets of the services do not wait for that.
//!
//! It does so at the first start alone, when no flow is there that it would be needed for. Any program that takes the
//! place of another one has it from the start.

use aya::Ebpf;
use aya::maps::{MapData, ProgramArray};
use lb_common::map;

use super::Datapath;
use super::error::{OnMap, Result};
use super::stages::{self, COOKIES};
use crate::model::tables::Write;

/// What has to be done for SYN cookies, beside everything else.
pub struct LateCookies {
    pub(super) loaded: Ebpf,
    pub(super) stages: ProgramArray<MapData>,
    /// Of the program that goes on in it.
    pub(super) program_id: u32,
}

impl LateCookies {
    /// Has the kernel verify the program, and lets the one that runs call it. No listener may ask for it before.
    pub fn load(mut self) -> Result<CookiesLoaded> {
        stages::add(&mut self.loaded, COOKIES, &mut self.stages)?;
        Ok(CookiesLoaded { program_id: self.program_id })
    }
}

/// The proof that a program can answer SYNs with cookies.
#[derive(Debug)]
pub struct CookiesLoaded {
    program_id: u32,
}

impl Datapath {
    /// Whether listeners may ask for cookies.
    #[must_use]
    pub fn has_cookies(&self) -> bool {
        self.running.has_cookies
    }

    /// Has it done at once that they may.
    pub fn load_cookies(&mut self) -> Result<()> {
        if let Some(late) = self.late_cookies() {
            self.note_cookies(&late.load()?);
        }
        Ok(())
    }

    /// What is to be done before they may, unless it was or is being done.
    pub fn late_cookies(&mut self) -> Option<LateCookies> {
        self.late_cookies.take()
    }

    /// Takes note of what was done. Another program may have come in the meantime, which has all it needs.
    pub fn note_cookies(&mut self, loaded: &CookiesLoaded) {
        self.running.has_cookies |= loaded.program_id == self.running.id;
    }

    /// Refuses what would lead packets to a program that is not there.
    pub(super) fn check_cookies(&self, writes: &[Write]) -> Result<()> {
        if self.has_cookies() || !writes.iter().any(asks_for_cookies) {
            return Ok(());
        }
        Err("their program is not there yet").on("ask for SYN cookies in", map::LISTENERS)
    }
}

fn asks_for_cookies(write: &Write) -> bool {
    match write {
        Write::Listener { value, .. } | Write::Draw { value, .. } => value.syn_cookies != 0,
        Write::Settings(_)
        | Write::Backend { .. }
        | Write::FreeBackend { .. }
        | Write::Slots { .. }
        | Write::Run { .. }
        | Write::Point { .. }
        | Write::Unpoint { .. }
        | Write::FreeListener { .. }
        | Write::Vip { .. }
        | Write::RemoveVip { .. }
        | Write::Firewall(_) => false,
    }
}
