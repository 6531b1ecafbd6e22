//! Interfaces that change while the agent runs: another MAC address, down, gone, made anew.

use super::Datapath;
use super::attach::{attach_again, foreign};
use super::error::{DatapathError, Result};
use super::program::pinned;
use crate::io::netlink::{Link, links};

impl Datapath {
    /// Brings program and maps in step with the interfaces as they are now; says what keeps an interface
    /// from balancing.
    pub fn follow_interfaces(&mut self) -> Vec<DatapathError> {
        let links = match links() {
            Ok(links) => links,
            Err(error) => return vec![DatapathError::Interfaces(error)],
        };
        let mut problems = Vec::new();
        let mut present = Vec::new();
        for interface in self.interfaces.clone() {
            let link = links.iter().find(|link| link.name == interface);
            present.extend(link.map(|link| link.index));
            problems.extend(self.follow(&interface, link).err());
        }
        self.maps.interfaces.keep(&present);
        problems.extend(self.maps.firewall.follow_links().err());
        problems
    }

    fn follow(&mut self, interface: &str, link: Option<&Link>) -> Result<()> {
        let interface = interface.to_owned();
        let Some(link) = link else { return Err(DatapathError::NoInterface { interface }) };
        let Some(mac) = link.mac else { return Err(DatapathError::NotEthernet { interface }) };
        self.maps.interfaces.note(link.index, mac)?;
        match link.xdp {
            None => self.attach_again(link)?,
            Some(attached) if attached.program_id != self.running.id => {
                return Err(foreign(&interface, attached.program_id));
            }
            Some(_) => {}
        }
        match (link.up, link.running) {
            (true, true) => Ok(()),
            (true, false) => Err(DatapathError::Idle { interface, why: "has no carrier" }),
            (false, _) => Err(DatapathError::Idle { interface, why: "is down" }),
        }
    }

    /// Attaches to an interface that was made anew under its old name.
    fn attach_again(&mut self, link: &Link) -> Result<()> {
        attach_again(&mut pinned(&self.pins)?, link, self.mode, &self.pins)?;
        tracing::info!("attached to {} again", link.name);
        Ok(())
    }
}
