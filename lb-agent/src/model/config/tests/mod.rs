//! Tests of the parser as a whole.

mod changes;
mod firewall;
mod property;
mod rendering;
mod valid;
mod vrrp;
mod wrong;

use super::{Checked, Problems, parse};

/// The commented example that users start from.
const EXAMPLE: &str = include_str!("../../../../../docs/lb.toml");

fn check(text: &str) -> Result<Checked, Problems> {
    parse("lb.toml", text, "host1")
}

fn valid(text: &str) -> Checked {
    check(text).unwrap_or_else(|problems| panic!("{problems}"))
}

fn problems(text: &str) -> Problems {
    match check(text) {
        Ok(_) => panic!("no problem was found in\n{text}"),
        Err(problems) => problems,
    }
}

/// The smallest valid file, with lines added to its tables.
#[derive(Clone, Copy, Default)]
struct World<'a> {
    root: &'a str,
    datapath: &'a str,
    check: &'a str,
    service: &'a str,
    backend: &'a str,
    more: &'a str,
}

impl World<'_> {
    fn text(self) -> String {
        let Self { root, datapath, check, service, backend, more } = self;
        format!(
            "version = 1\n{root}\n\
             [datapath]\ninterfaces = [\"eth0\"]\n{datapath}\n\
             [health_check.web]\ntype = \"http\"\n{check}\n\
             [[service]]\nname = \"shop\"\nlisten = [\"203.0.113.10:80\"]\n{service}\n\
             [[service.backend]]\nname = \"web1\"\naddress = \"192.0.2.11:80\"\n{backend}\n\
             {more}\n"
        )
    }
}
