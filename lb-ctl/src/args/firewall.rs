//! `lb-ctl firewall …` and `lb-ctl set …`

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use lb_common::api;

use super::Change;

#[derive(Debug, Subcommand)]
pub(crate) enum FirewallVerb {
    /// List, add and delete rules
    #[command(subcommand)]
    Rule(RuleVerb),
    /// Count the packets that each rule decided about, and those of rules that name a set
    ///
    /// Packets of a flow that the rules have accepted are not looked at again until a rule changes.
    Counters,
    /// The same as `lb-ctl set`
    #[command(subcommand)]
    Set(SetVerb),
}

#[derive(Debug, Subcommand)]
pub(crate) enum RuleVerb {
    /// List the rules in the order in which they are looked at: the first that matches decides
    List,
    /// Add a rule; a packet that does not meet every condition given is none of its
    Add(Box<AddRule>),
    /// Delete a rule
    Delete {
        /// Name of the rule
        name: String,
        #[command(flatten)]
        change: Change,
    },
}

#[derive(Args, Debug)]
pub(crate) struct AddRule {
    /// Name of the rule
    name: String,
    /// What becomes of the packets that it matches
    #[arg(long, value_enum)]
    action: Action,
    /// Prefixes and @sets that hold the source address
    #[arg(long, value_delimiter = ',', value_name = "PREFIX|@SET")]
    source: Vec<String>,
    /// Prefixes and @sets that hold the destination address
    #[arg(long, value_delimiter = ',', value_name = "PREFIX|@SET")]
    destination: Vec<String>,
    /// tcp, udp, icmp, icmpv6 or a number
    #[arg(long)]
    protocol: Option<String>,
    /// Source ports and ranges, as `1024-65535`
    #[arg(long, value_delimiter = ',', value_name = "PORTS")]
    sport: Vec<String>,
    /// Destination ports and ranges
    #[arg(long, value_delimiter = ',', value_name = "PORTS")]
    dport: Vec<String>,
    /// Flags that are set, and with a ! those that are not: `syn,!ack`
    #[arg(long, value_name = "FLAGS")]
    tcp_flags: Option<String>,
    /// Names or numbers of types of ICMP, beside --protocol icmp or icmpv6
    #[arg(long, value_delimiter = ',', value_name = "TYPE")]
    icmp_type: Vec<String>,
    /// The interface that the packet came by
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,
    /// The service that the packet is for
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Match only what is beyond this rate: `2000/s`, `10/m` or `5/h`
    #[arg(long, value_name = "RATE", group = "limit")]
    over: Option<String>,
    /// Match only flows that begin while their source has so many open
    #[arg(long, value_name = "N", group = "limit")]
    flows: Option<u32>,
    /// Beside --over: how many may come at once [default: a tenth of the rate]
    #[arg(long, value_name = "N", requires = "over")]
    burst: Option<u32>,
    /// Beside --over: what counts, `packets` or `new_flows` [default: `packets`]
    #[arg(long, value_name = "WHAT", requires = "over")]
    count: Option<String>,
    /// Beside --over: `source` for each source by itself [default: the rule as a whole]
    #[arg(long, value_name = "source", requires = "limit")]
    per: Option<String>,
    /// Beside --per or --flows: leading bits by which sources of IPv4 are told apart [default: 32]
    #[arg(long, value_name = "BITS", requires = "limit")]
    prefix_v4: Option<u32>,
    /// Beside --per or --flows: leading bits by which sources of IPv6 are told apart [default: 64]
    #[arg(long, value_name = "BITS", requires = "limit")]
    prefix_v6: Option<u32>,
    /// Look at it before this rule [default: after all others]
    #[arg(long, value_name = "RULE")]
    pub(crate) before: Option<String>,
    #[command(flatten)]
    pub(crate) change: Change,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Action {
    /// Let them go on
    Accept,
    /// Drop them
    Drop,
}

impl From<&AddRule> for api::Rule {
    fn from(add: &AddRule) -> Self {
        let action = match add.action {
            Action::Accept => "accept",
            Action::Drop => "drop",
        };
        Self {
            name: add.name.clone(),
            action: action.to_owned(),
            source: add.source.clone(),
            destination: add.destination.clone(),
            protocol: add.protocol.clone(),
            sport: add.sport.clone(),
            dport: add.dport.clone(),
            tcp_flags: add.tcp_flags.clone(),
            icmp_type: add.icmp_type.clone(),
            interface: add.interface.clone(),
            service: add.service.clone(),
            over: (add.over.is_some() || add.flows.is_some()).then(|| over(add)),
        }
    }
}

fn over(add: &AddRule) -> api::Over {
    // Flows are always those of a source.
    let per = add.per.clone().or_else(|| add.flows.map(|_| "source".to_owned()));
    api::Over {
        rate: add.over.clone(),
        burst: add.burst,
        count: add.count.clone(),
        flows: add.flows,
        per,
        prefix_v4: add.prefix_v4,
        prefix_v6: add.prefix_v6,
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum SetVerb {
    /// List the sets
    List,
    /// Show elements of a set
    Show {
        /// Name of the set
        set: String,
        /// Most elements to show
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: usize,
    },
    /// Add elements; those that are there stay
    Add(ChangeElements),
    /// Delete elements; if one is not there, none is deleted
    Delete(ChangeElements),
    /// Put the lines of a file in the place of all elements, at once
    ///
    /// A line is an address or a prefix; # begins a comment. If a line is wrong, the old elements stay (exit
    /// code 5). What is loaded holds until `reload --discard`, whatever becomes of the set's own file.
    Load {
        /// Name of the set
        set: String,
        /// The file, `-` for standard input
        file: PathBuf,
        #[command(flatten)]
        change: Change,
    },
}

#[derive(Args, Debug)]
pub(crate) struct ChangeElements {
    /// Name of the set
    pub(crate) set: String,
    /// Addresses and prefixes
    #[arg(required = true)]
    pub(crate) elements: Vec<String>,
    #[command(flatten)]
    pub(crate) change: Change,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::{Cli, Object};
    use super::*;

    fn parse(line: &str) -> Result<Object, clap::Error> {
        Ok(Cli::try_parse_from(line.split_whitespace())?.object)
    }

    #[test]
    fn a_rule_takes_lists_with_commas_or_an_option_each() {
        let line = "lb-ctl firewall rule add web --action accept --source @office,10.0.0.0/8 \
                    --dport 80 --dport 443 --tcp-flags syn,!ack --protocol tcp";
        let Object::Firewall(FirewallVerb::Rule(RuleVerb::Add(add))) = parse(line).unwrap() else {
            panic!("not add")
        };
        let rule = api::Rule::from(&*add);
        assert_eq!((rule.source.len(), rule.dport.len()), (2, 2));
        assert_eq!(rule.tcp_flags.as_deref(), Some("syn,!ack"));
        assert_eq!((rule.action.as_str(), add.before), ("accept", None));
    }

    #[test]
    fn what_is_missing_is_a_usage_error() {
        for line in [
            "lb-ctl firewall rule add web",
            "lb-ctl firewall rule add web --action reject",
            "lb-ctl set add office",
            "lb-ctl set load office",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }
}
