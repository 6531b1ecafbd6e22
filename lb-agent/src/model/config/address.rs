//! Addresses with a port, and which of them a VIP or a backend can have.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use toml::de::DeValue;

use super::problem::Fault;
use super::value::{Parsed, string};

/// An example for help.
pub(super) const EXAMPLE: &str = "\"192.0.2.11:80\"";

/// Address and port that the agent itself may listen on.
pub(super) fn local(value: &DeValue<'_>) -> Parsed<SocketAddr> {
    let text = string(value, EXAMPLE)?;
    let address: SocketAddr = text.parse().map_err(|_| explain(text))?;
    if address.port() == 0 {
        let message = format!("the port of {text:?} is 0");
        return Err(Fault::new(message, "give a port from 1 to 65535"));
    }
    if let SocketAddr::V6(v6) = address
        && (v6.scope_id() != 0 || text.contains('%'))
    {
        let message = format!("{text:?} names an interface");
        return Err(Fault::new(message, "give the address without '%' and what follows it"));
    }
    Ok(address)
}

/// Address and port that packets can be sent to: a VIP's or a backend's.
pub(super) fn unicast(value: &DeValue<'_>) -> Parsed<SocketAddr> {
    let address = local(value)?;
    let Some(kind) = unusable(address.ip()) else { return Ok(address) };
    Err(Fault::new(
        format!("{} is {kind}", address.ip()),
        "give a unicast address that other machines can send to",
    ))
}

/// `IPv4` or `IPv6`.
pub(super) fn family(address: SocketAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

/// Why packets cannot be sent to an address; `None` if they can.
pub(in crate::model) fn unusable(address: IpAddr) -> Option<&'static str> {
    if address.is_unspecified() {
        return Some("the unspecified address");
    }
    if address.is_loopback() {
        return Some("a loopback address, which packets of other machines never have");
    }
    if address.is_multicast() {
        return Some("a multicast address");
    }
    match address {
        IpAddr::V4(Ipv4Addr::BROADCAST) => Some("the broadcast address"),
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => Some("an IPv4 address in IPv6's form"),
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    }
}

/// Why a text is no address with a port.
fn explain(text: &str) -> Fault {
    let message = format!("{text:?} is not an address with a port");
    if let Ok(address) = text.parse::<IpAddr>() {
        let help = format!("add the port, as in \"{}\"", SocketAddr::new(address, 80));
        return Fault::new(message, help);
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return Fault::new(message, format!("write it as in {EXAMPLE}"));
    };
    if port.parse::<u16>().is_err() {
        return Fault::new(message, "give a port from 1 to 65535");
    }
    if host.parse::<Ipv6Addr>().is_ok() {
        return Fault::new(message, format!("write \"[{host}]:{port}\""));
    }
    let help = format!("host names are not resolved: write an address, as in {EXAMPLE}");
    Fault::new(message, help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vip_or_backend_can_be_reached_from_elsewhere() {
        let taken = |text: &str| unicast(&DeValue::String(text.into())).is_ok();
        assert!(taken("203.0.113.10:80") && taken("[2001:db8::1]:65535"));
        let wrong = [
            "0.0.0.0:80",
            "[::]:80",
            "127.0.0.1:80",
            "[::1]:80",
            "224.0.0.1:80",
            "[ff02::1]:80",
            "255.255.255.255:80",
            "[::ffff:192.0.2.1]:80",
            "192.0.2.1:0",
            "[fe80::1%2]:80",
            "[fe80::1%0]:80",
            "192.0.2.1",
            "2001:db8::1:80",
            "web1:80",
            "192.0.2.1:65536",
            "",
        ];
        for text in wrong {
            assert!(!taken(text), "{text}");
        }
    }

    #[test]
    fn the_agent_may_listen_anywhere() {
        let taken = |text: &str| local(&DeValue::String(text.into())).is_ok();
        assert!(taken("127.0.0.1:9901") && taken("[::]:9901"));
        assert!(!taken("127.0.0.1:0"));
    }
}
