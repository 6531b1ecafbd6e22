//! The file of a set: an address or a prefix a line, `#` before comments.

use std::fmt;

use super::Elements;
use crate::model::config::prefix_of;

/// Bytes of the longest file of a set: more than the most prefixes take.
pub const LONGEST_SET: usize = 256 << 20;
/// Most wrong lines that are told.
const MOST_TOLD: usize = 10;
/// Most characters of a wrong line that are told.
const MOST_SHOWN: usize = 60;

/// The lines of a file that are no elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLines {
    /// The first of them: number and what is wrong.
    told: Vec<(usize, String)>,
    /// How many there are.
    n_bad: usize,
}

/// One wrong line refuses the whole file: half a set is worse than an old one.
pub fn parse_set(text: &[u8]) -> Result<Elements, BadLines> {
    let mut bad = BadLines { told: Vec::new(), n_bad: 0 };
    let mut prefixes = Vec::new();
    for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let element = line.split(|byte| *byte == b'#').next().unwrap_or_default().trim_ascii();
        if element.is_empty() {
            continue;
        }
        match std::str::from_utf8(element)
            .map_err(|_| "it is not UTF-8 text".to_owned())
            .and_then(prefix_of)
        {
            Ok(prefix) => prefixes.push(prefix),
            Err(_) => bad.note(index + 1, element),
        }
    }
    if bad.n_bad == 0 { Ok(prefixes.into_iter().collect()) } else { Err(bad) }
}

/// The lines of a file that holds these elements.
pub fn set_text(elements: &Elements) -> String {
    let mut text = String::new();
    for prefix in elements.iter() {
        text.push_str(&prefix.to_string());
        text.push('\n');
    }
    text
}

impl BadLines {
    fn note(&mut self, number: usize, element: &[u8]) {
        self.n_bad += 1;
        if self.told.len() < MOST_TOLD {
            let shown: String = String::from_utf8_lossy(element).chars().take(MOST_SHOWN).collect();
            self.told.push((number, format!("{shown:?} is neither an IP address nor a prefix")));
        }
    }
}

impl fmt::Display for BadLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (number, problem)) in self.told.iter().enumerate() {
            let gap = if index == 0 { "" } else { "; " };
            write!(f, "{gap}line {number}: {problem}")?;
        }
        match self.n_bad.saturating_sub(self.told.len()) {
            0 => Ok(()),
            n_more => write!(f, "; and {n_more} lines more"),
        }
    }
}

impl std::error::Error for BadLines {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bad(text: &str) -> String {
        parse_set(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn a_line_is_an_address_a_prefix_or_a_comment() {
        let text = "# feed\r\n192.0.2.1\r\n\n 2001:db8::/32 # why\n10.1.2.3/8\n192.0.2.1/32";
        let texts: Vec<String> =
            parse_set(text.as_bytes()).unwrap().iter().map(|one| one.to_string()).collect();
        assert_eq!(texts, ["10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32"]);
        assert!(parse_set(b"").unwrap().is_empty());
    }

    #[test]
    fn wrong_lines_are_told_with_their_numbers() {
        assert_eq!(
            bad("192.0.2.1\n192.0.2.300\n\nexample.org # host"),
            "line 2: \"192.0.2.300\" is neither an IP address nor a prefix; \
             line 4: \"example.org\" is neither an IP address nor a prefix"
        );
        assert!(bad(&"x\n".repeat(25)).ends_with("; and 15 lines more"));
        assert!(bad(&"x".repeat(1_000)).len() < 120);
        let text = parse_set(b"\xff\x1b[31m").unwrap_err().to_string();
        assert!(text.starts_with("line 1: ") && !text.contains('\u{1b}'), "{text}");
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Err(bad) = parse_set(&bytes) {
                prop_assert!(bad.to_string().starts_with("line "));
            }
        }

        #[test]
        fn what_is_written_is_read_back(all in proptest::collection::vec((any::<u128>(), any::<bool>(), 0..=128_u8), 0..20)) {
            let prefix = |(bits, is_v4, length): (u128, bool, u8)| {
                let v4 = std::net::Ipv4Addr::from(u32::try_from(bits >> 96).unwrap()).into();
                let address = if is_v4 { v4 } else { std::net::Ipv6Addr::from(bits).into() };
                ipnet::IpNet::new(address, if is_v4 { length / 4 } else { length }).unwrap()
            };
            let elements: Elements = all.into_iter().map(prefix).collect();
            prop_assert_eq!(parse_set(set_text(&elements).as_bytes()).unwrap(), elements);
        }
    }
}
