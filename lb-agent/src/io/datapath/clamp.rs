//! Puts the program for what leaves a backend on interfaces, and takes it away.

use std::path::Path;

use aya::programs::links::FdLink;
use aya::programs::tc::{
    NlOptions, TcAttachOptions, TcError, qdisc_add_clsact, qdisc_detach_program,
};
use aya::programs::{LinkOrder, SchedClassifier, TcAttachType};
use aya::util::KernelVersion;

use super::attach::pin_link;
use super::error::{DatapathError, Result, Source};
use super::pins::Pins;

/// Name of the program in the object.
pub(super) const PROGRAM: &str = "sluice_clamp";

/// Where a program sees what leaves an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// A link of its own, beside those of others.
    Tcx,
    /// A filter of traffic control.
    Clsact,
}

impl Hook {
    /// The better one that the kernel has.
    #[must_use]
    pub fn of_this_kernel() -> Self {
        let has_tcx = KernelVersion::current().is_ok_and(|it| it >= KernelVersion::new(6, 6, 0));
        if has_tcx { Self::Tcx } else { Self::Clsact }
    }
}

/// Attaches the program; one that was left there goes afterwards, or with a filter before.
pub(super) fn attach(
    program: &mut SchedClassifier,
    interface: &str,
    hook: Hook,
    pins: &Pins,
) -> Result<()> {
    match hook {
        Hook::Tcx => {
            let link = attach_link(program, interface);
            pin_link(link.map_err(|source| error(interface, source))?, interface, pins)
        }
        Hook::Clsact => {
            attach_filter(program, interface).map_err(|source| error(interface, source))
        }
    }
}

fn attach_link(program: &mut SchedClassifier, interface: &str) -> Result<FdLink, Source> {
    let options = TcAttachOptions::TcxOrder(LinkOrder::default());
    let id = program.attach_with_options(interface, TcAttachType::Egress, options)?;
    Ok(program.take_link(id)?.try_into()?)
}

fn attach_filter(program: &mut SchedClassifier, interface: &str) -> Result<(), Source> {
    detach_filter(interface)?;
    // As a rule an error means that it is there already; if not, the filter is refused.
    qdisc_add_clsact(interface).ok();
    let options = TcAttachOptions::Netlink(NlOptions::default());
    let id = program.attach_with_options(interface, TcAttachType::Egress, options)?;
    // A filter is the interface's and stays like a pinned link, until it is taken away by its name.
    std::mem::forget(program.take_link(id)?);
    Ok(())
}

/// Takes the program away from interfaces, however it was attached.
pub(super) fn detach_all(interfaces: &[String], pin_path: &Path) -> Result<()> {
    Pins::existing(pin_path).map_or(Ok(()), |pins| pins.remove_all())?;
    let filters = interfaces
        .iter()
        .map(|interface| detach_filter(interface).map_err(|source| error(interface, source)));
    filters.fold(Ok(()), Result::and)
}

fn detach_filter(interface: &str) -> Result<(), Source> {
    match qdisc_detach_program(interface, TcAttachType::Egress, PROGRAM) {
        // There is no such filter, or no such interface any more.
        Ok(()) | Err(TcError::IoError(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn error(interface: &str, source: Source) -> DatapathError {
    DatapathError::Clamp { interface: interface.to_owned(), source }
}
