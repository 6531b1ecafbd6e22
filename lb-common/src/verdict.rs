//! What can happen to a packet. Every packet ends in exactly one named verdict.
//!
//! One list gives the number (index of the kernel's counters), the name (label of metrics and of
//! `lb-ctl drops`), the kind and the help text. Numbers are never reused.

/// Whether a packet went on, went to the host or ended here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Sluice sent it on.
    Forwarded,
    /// The host's own stack got it, unchanged.
    Passed,
    /// It was dropped.
    Dropped,
}

impl Kind {
    /// The label of metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Forwarded => "forwarded",
            Self::Passed => "passed",
            Self::Dropped => "dropped",
        }
    }
}

macro_rules! verdicts {
    (
        $(#[$about:meta])* $verdict:ident:
        $($number:literal $variant:ident $name:literal $kind:ident $help:literal;)+
    ) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum $verdict {
            $(#[doc = $help] $variant = $number,)+
        }

        impl $verdict {
            /// All verdicts, by number.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The verdict with this number, if there is one.
            #[must_use]
            #[inline(always)]
            pub const fn from_number(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)+ _ => None }
            }

            /// The label of metrics and of `lb-ctl drops`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// Whether the packet went on, went to the host or ended.
            #[must_use]
            pub const fn kind(self) -> Kind {
                match self { $(Self::$variant => Kind::$kind,)+ }
            }

            /// What it means for an operator that the counter is not zero.
            #[must_use]
            pub const fn help(self) -> &'static str {
                match self { $(Self::$variant => $help,)+ }
            }

            /// Number of the verdict: index of its counter.
            #[must_use]
            #[inline(always)]
            #[expect(clippy::as_conversions, reason = "the number of a variant")]
            pub const fn number(self) -> u32 {
                self as u32
            }
        }
    };
}

pub(crate) use verdicts;

verdicts! {
    /// What happened to a packet.
    #[expect(clippy::doc_markdown, reason = "the texts are for operators, too")]
    Verdict:
    1 ToBackend "to_backend" Forwarded "A client's packet went to a backend.";
    2 ToClient "to_client" Forwarded "A backend's reply went to its client.";
    4 ErrorToBackend "error_to_backend" Forwarded "An ICMP error about a reply went to the flow's backend.";
    5 ErrorToClient "error_to_client" Forwarded "An ICMP error about a forwarded packet went to the flow's client.";
    6 ResetSent "reset_sent" Forwarded "The flow's backend is down; its client was sent a TCP reset.";
    7 ToBackendUnremembered "to_backend_unremembered" Forwarded "A client's packet went to the backend that its hash names, for the flow table has no place for its flow.";
    8 TooBigReported "too_big_reported" Forwarded "A packet was longer than the way to its backend takes; its sender was told the MTU.";
    9 FragmentForwarded "fragment_forwarded" Forwarded "A later fragment followed the first one of its packet.";
    10 NotIp "not_ip" Passed "Neither IPv4 nor IPv6: ARP, LLDP, more than two VLAN tags and the like.";
    11 NotOurs "not_ours" Passed "Not for a VIP and not a reply of a balanced flow.";
    12 VipControl "vip_control" Passed "To a VIP, for the host to answer: echo requests, neighbour discovery, VRRP.";
    13 VipHostPort "vip_host_port" Passed "To an address that the host had before Sluice, outside of its services.";
    20 NoBackend "no_backend" Dropped "The service has no backend that could take the packet: all are down, drained or in maintenance.";
    21 PortClosed "port_closed" Dropped "To a VIP that Sluice manages, at a port without a service.";
    22 ProtocolClosed "protocol_closed" Dropped "To a VIP that Sluice manages, with a protocol that it does not balance.";
    23 Fragment "fragment" Dropped "A fragment that cannot be balanced: the first fragment of its packet, which alone names the ports, did not come before it, or fragments are not followed.";
    24 Malformed "malformed" Dropped "Headers that contradict themselves or the frame's length.";
    25 ExtensionHeaders "extension_headers" Dropped "To a VIP, with more IPv6 extension headers than are followed, or one that cannot be.";
    26 TtlExceeded "ttl_exceeded" Dropped "The packet's TTL or hop limit was used up; traffic that loops shows here.";
    27 NoNextHop "no_next_hop" Dropped "The way to the backend is not known: no route, one by an interface that is not in `[datapath] interfaces`, or its neighbour does not answer ARP or neighbour discovery.";
    28 FlowTableFull "flow_table_full" Dropped "No place in the flow table for a new flow; raise max_flows or lower the timeouts.";
    29 ReplyConflict "reply_conflict" Dropped "The client's address and port already talk to every backend tried through another VIP, or another flow was given the flow's source of full NAT, so replies could not be told apart.";
    30 ErrorWithoutFlow "error_without_flow" Dropped "An ICMP error to a VIP about a flow that is not known.";
    31 TooBig "too_big" Dropped "A packet was longer than the way to its backend takes, and its sender was not told: too many were just now, or it is a later fragment or an ICMP error.";
    32 SourcesUsedUp "sources_used_up" Dropped "Full NAT found no free source port for a new flow; add sources or ports.";
    33 FirewallDrop "firewall_drop" Dropped "A rule of the firewall said so; `lb-ctl firewall counters` tells which.";
    34 FirewallPolicy "firewall_policy" Dropped "No rule of the firewall matched, and its policy is to drop.";
    35 ServiceNotAllowed "service_not_allowed" Dropped "To a service whose `allow` list does not hold the source.";
    36 SynCookieSent "syn_cookie_sent" Forwarded "A client's SYN was answered with a SYN cookie; nothing is remembered of it.";
    37 SynCookieAccepted "syn_cookie_accepted" Forwarded "A client has sent a valid SYN cookie back; its backend was sent the SYN.";
    38 SynCookieInvalid "syn_cookie_invalid" Dropped "To a service that answers with SYN cookies, of no known connection and without a valid cookie.";
    39 BackendAcknowledged "backend_acknowledged" Forwarded "A backend repeated its answer to a SYN cookie's client, which is yet to speak; the handshake was ended for it.";
    40 BackendReset "backend_reset" Forwarded "A backend still had an older connection of a SYN cookie's client; it was sent a reset.";
    41 NewFlowsLimited "new_flows_limited" Dropped "A new flow of a service that has had as many as its limit lets it have.";
    42 HeldForPeer "held_for_peer" Dropped "Of a TCP connection that is not known, for five seconds after another director has fallen silent, whose agent may yet come back and tell of it; TCP sends the packet again.";
}

/// Entries of the array of counters: one more than the highest verdict number, with room to grow.
pub const MAX_VERDICTS: u32 = 64;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Number, name and help of the verdicts of a list: numbers rise and fit the counters, names are labels.
    pub(crate) fn check_list(rows: &[(u32, &str, &str)]) {
        assert!(rows.windows(2).all(|pair| pair[0].0 < pair[1].0));
        for (index, (number, name, help)) in rows.iter().enumerate() {
            assert!(*number < MAX_VERDICTS, "{name}");
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}");
            assert!(rows[..index].iter().all(|other| other.1 != *name), "{name}");
            assert!(help.ends_with('.'), "{name}");
        }
    }

    #[test]
    fn numbers_rise_and_every_name_is_a_label_of_its_own() {
        let rows = Verdict::ALL.iter().map(|row| (row.number(), row.name(), row.help()));
        check_list(&rows.collect::<Vec<_>>());
        for verdict in Verdict::ALL {
            let number = verdict.number().try_into().unwrap();
            assert_eq!(Verdict::from_number(number), Some(*verdict));
        }
    }
}
