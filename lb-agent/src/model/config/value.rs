//! Values of the file: each function takes one as TOML gives it and checks all that can be known of it
//! alone.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use toml::de::DeValue;

use super::problem::Fault;
use super::word::Word;

/// What every parser answers.
pub(super) type Parsed<T> = Result<T, Fault>;

/// A value's type as a person calls it.
pub(super) fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// A string; `example` is one that would do.
pub(super) fn string<'a>(value: &'a DeValue<'_>, example: &str) -> Parsed<&'a str> {
    value.as_str().ok_or_else(|| {
        let message = format!("expected a string, found {}", type_name(value));
        Fault::new(message, format!("write it in quotes, as in {example}"))
    })
}

/// An IP address; `example` is one that would do, in quotes.
pub(super) fn ip_address(value: &DeValue<'_>, example: &str) -> Parsed<IpAddr> {
    let text = string(value, example)?;
    text.parse().map_err(|_| {
        let message = format!("{text:?} is not an IP address");
        Fault::new(message, format!("write an address without a port, as in {example}"))
    })
}

/// `true` or `false`.
pub(super) fn boolean(value: &DeValue<'_>) -> Parsed<bool> {
    value.as_bool().ok_or_else(|| {
        let message = format!("expected true or false, found {}", type_name(value));
        Fault::new(message, "write `true` or `false`, without quotes")
    })
}

/// An integer within a range.
pub(super) fn integer(range: RangeInclusive<u32>) -> impl Fn(&DeValue<'_>) -> Parsed<u32> {
    move |value| {
        let (low, high) = (range.start(), range.end());
        let help = format!("give an integer from {low} to {high}, without quotes");
        let Some(integer) = value.as_integer() else {
            let message = format!("expected an integer, found {}", type_name(value));
            return Err(Fault::new(message, help));
        };
        let number = u32::from_str_radix(integer.as_str(), integer.radix()).ok();
        number
            .filter(|number| range.contains(number))
            .ok_or_else(|| Fault::new(format!("{integer} is not within {low} to {high}"), help))
    }
}

/// The same for an integer that may be negative.
pub(super) fn signed(range: RangeInclusive<i32>) -> impl Fn(&DeValue<'_>) -> Parsed<i32> {
    move |value| {
        let (low, high) = (range.start(), range.end());
        let found = value.as_integer();
        let number =
            found.and_then(|found| i32::from_str_radix(found.as_str(), found.radix()).ok());
        number.filter(|number| range.contains(number)).ok_or_else(|| {
            let found = found.map_or_else(|| type_name(value).to_owned(), ToString::to_string);
            let message = format!("expected an integer from {low} to {high}, found {found}");
            Fault::new(message, "write it without quotes")
        })
    }
}

/// A share from 0% to `most`, in whole percent.
pub(super) fn percent(most: u8) -> impl Fn(&DeValue<'_>) -> Parsed<f64> {
    move |value| {
        let text = string(value, "\"10%\"")?;
        let digits = text.strip_suffix('%');
        let share: Option<u8> = digits.and_then(|digits| digits.parse().ok());
        share.filter(|share| *share <= most).map(|share| f64::from(share) / 100.0).ok_or_else(
            || {
                let message = format!("{text:?} is not a share from 0% to {most}%");
                Fault::new(message, "give whole percent, as in \"10%\"")
            },
        )
    }
}

/// A share from 0 to 1.
pub(super) fn share(value: &DeValue<'_>) -> Parsed<f64> {
    let number = match value {
        DeValue::Float(float) => float.as_str(),
        DeValue::Integer(integer) => integer.as_str(),
        DeValue::String(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_)
        | DeValue::Table(_) => "",
    };
    let share: Option<f64> = number.parse().ok();
    share.filter(|share| (0.0..=1.0).contains(share)).ok_or_else(|| {
        let found = if number.is_empty() { type_name(value) } else { number };
        let message = format!("expected a share from 0 to 1, found {found}");
        Fault::new(message, "write it as in 0.3, which is 30%")
    })
}

/// One of the words of a type. `later` are those that a later version will know.
pub(super) fn choice<T: Word>(later: &[&'static str]) -> impl Fn(&DeValue<'_>) -> Parsed<T> {
    move |value| {
        let words = || T::ALL.iter().map(|choice| choice.word());
        let list = words().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(", ");
        let text = string(value, &list)?;
        if let Some(found) = T::ALL.iter().find(|choice| choice.word() == text) {
            return Ok(*found);
        }
        let known = format!("this version knows {list}");
        if later.contains(&text) {
            return Err(Fault::new(format!("{text:?} is not supported yet"), known));
        }
        let near = nearest(text, words().chain(later.iter().copied()));
        let help = near.map_or(known, |near| format!("did you mean {near:?}?"));
        Err(Fault::new(format!("unknown value {text:?}"), help))
    }
}

/// A name of a node, service, backend or health check.
pub(super) fn name(value: &DeValue<'_>) -> Parsed<String> {
    let text = string(value, "\"web1\"")?;
    check_name(text)?;
    Ok(text.to_owned())
}

/// What is wrong with a name; `None` if nothing is.
pub(in crate::model) fn unusable_name(text: &str) -> Option<String> {
    check_name(text).err().map(Fault::into_message)
}

/// Whether a name can be used in paths of the API and in logs.
pub(super) fn check_name(text: &str) -> Parsed<()> {
    if text.is_empty() {
        return Err(Fault::new("a name is empty", "give it a name, as in \"web1\""));
    }
    if text.contains(|c: char| c == '/' || c.is_control()) {
        let message = format!("the name {text:?} contains '/' or a control character");
        return Err(Fault::new(message, "use letters, digits, '-', '_' and '.'"));
    }
    Ok(())
}

/// A name of a network interface: what the kernel's `dev_valid_name` allows, without control characters.
pub(super) fn interface(value: &DeValue<'_>) -> Parsed<String> {
    let text = string(value, "\"eth0\"")?;
    let forbidden = |c: char| matches!(c, '/' | ':') || c.is_whitespace() || c.is_control();
    let valid = (1..=15).contains(&text.len()) && !matches!(text, "." | "..");
    if valid && !text.contains(forbidden) {
        return Ok(text.to_owned());
    }
    Err(Fault::new(
        format!("{text:?} cannot be the name of an interface"),
        "a name has 1 to 15 bytes, without space, '/' and ':'; `ip link` lists those that exist",
    ))
}

/// An absolute path.
pub(super) fn path(value: &DeValue<'_>) -> Parsed<PathBuf> {
    let text = string(value, "\"/run/lb/lb.sock\"")?;
    if text.contains(char::is_control) {
        return Err(Fault::new("the path contains a control character", "remove it"));
    }
    if !text.starts_with('/') {
        let message = format!("the path {text:?} is not absolute");
        return Err(Fault::new(message, "start it with '/'"));
    }
    Ok(PathBuf::from(text))
}

/// The path of a Unix socket, of which the kernel takes 107 bytes (unix(7)); while it is bound, its name
/// is that of a hidden file with the number of a process.
pub(super) fn socket_path(value: &DeValue<'_>) -> Parsed<PathBuf> {
    const LONGEST: usize = 107 - ".4194304".len();
    let path = path(value)?;
    let length = path.as_os_str().len();
    if length > LONGEST {
        let message = format!("the path of the socket has {length} bytes");
        return Err(Fault::new(message, format!("give one of at most {LONGEST} bytes")));
    }
    Ok(path)
}

/// Permission bits as a string of octal digits.
pub(super) fn permissions(value: &DeValue<'_>) -> Parsed<u32> {
    let help = "give octal digits in quotes, as in \"0660\"";
    let text = value.as_str().ok_or_else(|| {
        Fault::new(format!("expected a string, found {}", type_name(value)), help)
    })?;
    let octal = text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    let bits = u32::from_str_radix(text, 8).ok().filter(|bits| octal && *bits <= 0o777);
    bits.ok_or_else(|| Fault::new(format!("{text:?} are not permission bits"), help))
}

/// The candidate that `text` was probably meant to be.
pub(in crate::model) fn nearest<'a>(
    text: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let distances = candidates.map(|name| (strsim::damerau_levenshtein(text, name), name));
    // One change in three letters, as rustc allows.
    let most = |name: &str| text.chars().count().max(name.chars().count()).div_ceil(3);
    distances.filter(|(distance, name)| *distance <= most(name)).min().map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_near() {
        let keys = ["interval", "timeout", "rise", "fall"];
        assert_eq!(nearest("timout", keys.into_iter()), Some("timeout"));
        assert_eq!(nearest("intervall", keys.into_iter()), Some("interval"));
        assert_eq!(nearest("colour", keys.into_iter()), None);
    }

    #[test]
    fn permissions_are_octal_digits() {
        let bits = |text: &str| permissions(&DeValue::String(text.into())).ok();
        assert_eq!(bits("0660"), Some(0o660));
        assert_eq!(bits("777"), Some(0o777));
        for wrong in ["", "1000", "0888", "+660", "rw-rw----"] {
            assert_eq!(bits(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_interface_has_a_name_that_the_kernel_takes() {
        let taken = |text: &str| interface(&DeValue::String(text.into())).is_ok();
        assert!(taken("eth0") && taken("enp3s0f0np0.100"));
        for wrong in ["", "0123456789abcdef", "a b", "a/b", "a:b", "..", "a\u{1b}"] {
            assert!(!taken(wrong), "{wrong}");
        }
    }
}
