//! Puts the program on interfaces, and takes over the links that an agent before this one left.
//!
//! Everything that can be wrong is looked at before anything is changed.

use std::path::Path;

use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::{XdpLink, XdpMode as Mode};
use aya::programs::{Xdp, loaded_programs};

use super::error::{DatapathError, Result, Source};
use super::pins::{Pins, pin_error, remove, rename};
use crate::io::causes::with_causes;
use crate::io::netlink::{Attached, Link, links};
use crate::model::config::XdpMode;

/// An MTU up to which the frames of most drivers lie in one page, as the packet path needs them in native mode:
/// 4,096 bytes less headroom, link headers and the kernel's notes. A veth takes 3,506 on its other end.
pub const FITS_A_PAGE: u32 = 3_400;

/// An interface that will run the program.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) link: Link,
    /// The pinned link whose program is to be replaced; `None`: to be attached.
    held: Option<FdLink>,
}

/// Looks at the configured interfaces; changes nothing.
pub(super) fn find_targets(
    interfaces: &[String],
    mode: XdpMode,
    pins: Option<&Pins>,
) -> Result<Vec<Target>> {
    let links = links().map_err(DatapathError::Interfaces)?;
    let mut targets = Vec::new();
    for interface in interfaces {
        let link = links
            .iter()
            .find(|link| link.name == *interface)
            .ok_or_else(|| DatapathError::NoInterface { interface: interface.clone() })?;
        if link.mac.is_none() {
            return Err(DatapathError::NotEthernet { interface: interface.clone() });
        }
        // A pinned link beside an interface without a program is stale: its interface was removed, and
        // this one took the name.
        let held = match link.xdp {
            Some(attached) => Some(our_link(interface, attached, pins)?),
            None => None,
        };
        if held.is_some() {
            check_mode(link, mode)?;
        }
        targets.push(Target { link: link.clone(), held });
    }
    Ok(targets)
}

/// The pinned link of the program on an interface; an error if that program is not ours.
fn our_link(interface: &str, attached: Attached, pins: Option<&Pins>) -> Result<FdLink> {
    let id = attached.program_id;
    let foreign = || foreign(interface, id);
    let path = pins.ok_or_else(foreign)?.link(interface);
    if !path.exists() {
        return Err(foreign());
    }
    let link = open_link(&path)?;
    let info = link.info().map_err(|error| pin_error("read the link", &path, error))?;
    if info.program_id() == id { Ok(link) } else { Err(foreign()) }
}

pub(super) fn foreign(interface: &str, id: u32) -> DatapathError {
    let name = program_name(id).unwrap_or_else(|| "?".to_owned());
    DatapathError::Foreign { interface: interface.to_owned(), id, name }
}

fn open_link(path: &Path) -> Result<FdLink> {
    PinnedLink::from_pin(path)
        .map(FdLink::from)
        .map_err(|error| pin_error("open the link", path, error))
}

fn program_name(id: u32) -> Option<String> {
    loaded_programs()
        .filter_map(Result::ok)
        .find(|program| program.id() == id)
        .and_then(|program| program.name_as_str().map(ToOwned::to_owned))
}

fn check_mode(link: &Link, wanted: XdpMode) -> Result<()> {
    let native = link.xdp.is_some_and(|attached| attached.native);
    let (found, wanted) = match (wanted, native) {
        (XdpMode::Auto, _) | (XdpMode::Native, true) | (XdpMode::Generic, false) => return Ok(()),
        (XdpMode::Native, false) => ("generic", "native"),
        (XdpMode::Generic, true) => ("native", "generic"),
    };
    Err(DatapathError::OtherMode { interface: link.name.clone(), found, wanted })
}

/// Attaches the program to all targets, and pins it and the links.
///
/// New links come first: if one fails, they vanish with this function, and the old ones are as before.
pub(super) fn attach_all(
    program: &mut Xdp,
    targets: Vec<Target>,
    mode: XdpMode,
    pins: &Pins,
) -> Result<()> {
    let (held, new): (Vec<_>, Vec<_>) =
        targets.into_iter().partition(|target| target.held.is_some());
    let mut attached = Vec::new();
    for target in new {
        attached.push((attach(program, &target.link, mode)?, target.link.name));
    }
    replace_held(program, held)?;
    for (link, interface) in attached {
        pin_link(link, &interface, pins)?;
    }
    pin_program(program, pins)
}

/// Puts the program in the place of those that pinned links hold.
pub(super) fn replace_held(program: &mut Xdp, targets: Vec<Target>) -> Result<()> {
    for Target { link, held } in targets {
        if let Some(held) = held {
            replace(program, held).map_err(|source| attach_error(&link.name, "its", source))?;
        }
    }
    Ok(())
}

/// Attaches the program to an interface that has none.
pub(super) fn attach_again(
    program: &mut Xdp,
    link: &Link,
    mode: XdpMode,
    pins: &Pins,
) -> Result<()> {
    pin_link(attach(program, link, mode)?, &link.name, pins)
}

/// A pin of that name is of an interface that is gone.
pub(super) fn pin_link(link: FdLink, interface: &str, pins: &Pins) -> Result<()> {
    let path = pins.link(interface);
    remove(&path)?;
    link.pin(&path).map(drop).map_err(|error| pin_error("pin the link", &path, error))
}

/// Removes the links of interfaces that are no longer configured, which detaches them.
pub(super) fn drop_others(interfaces: &[String], pins: &Pins) -> Result<()> {
    let kept: Vec<_> = interfaces.iter().map(|interface| pins.link(interface)).collect();
    for path in pins.links()? {
        if !kept.contains(&path) {
            tracing::info!(link = %path.display(), "detach: no longer in the configuration");
            remove(&path)?;
        }
    }
    Ok(())
}

fn attach(program: &mut Xdp, link: &Link, mode: XdpMode) -> Result<FdLink> {
    let interface = &link.name;
    if mode != XdpMode::Generic {
        match attach_in(program, link.index, Mode::Driver) {
            Ok(attached) => return Ok(attached),
            Err(source) if mode == XdpMode::Native => return Err(refused(link, source)),
            Err(source) => {
                let error = with_causes(&refused(link, source));
                tracing::warn!(%interface, error, "native mode is refused, trying generic");
            }
        }
    }
    attach_in(program, link.index, Mode::Skb)
        .map_err(|source| attach_error(interface, "generic", source))
}

/// Why a driver refuses: drivers that are asked for longer frames than fit into a page say so by any error.
fn refused(link: &Link, source: Source) -> DatapathError {
    let interface = link.name.clone();
    match link.mtu {
        Some(mtu) if mtu > FITS_A_PAGE => DatapathError::Jumbo { interface, mtu, source },
        _ => attach_error(&interface, "native", source),
    }
}

fn attach_in(program: &mut Xdp, index: u32, mode: Mode) -> Result<FdLink, Source> {
    let id = program.attach_to_if_index(index, mode)?;
    // Where the kernel answers EINVAL, aya attaches without a link. That cannot be pinned, and goes
    // away when the conversion refuses it.
    Ok(program.take_link(id)?.try_into()?)
}

/// Swaps the program of a link in one step, so that no packet passes without one.
fn replace(program: &mut Xdp, held: FdLink) -> Result<(), Source> {
    let id = program.attach_to_link(XdpLink::try_from(held)?)?;
    let link = program.take_link(id)?;
    drop(link);
    Ok(())
}

fn attach_error(interface: &str, mode: &'static str, source: Source) -> DatapathError {
    DatapathError::Attach { interface: interface.to_owned(), mode, source }
}

fn pin_program(program: &mut Xdp, pins: &Pins) -> Result<()> {
    let (new, path) = (pins.new_program(), pins.program());
    remove(&new)?;
    program.pin(&new).map_err(|error| pin_error("pin the program", &new, error))?;
    rename(&new, &path)
}
