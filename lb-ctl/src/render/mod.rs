//! Turns the API's objects into text: JSON and YAML as they are, or tables and pages for a person.

pub(crate) mod backend;
pub(crate) mod change;
pub(crate) mod firewall;
pub(crate) mod flow;
pub(crate) mod health;
pub(crate) mod service;
pub(crate) mod status;
pub(crate) mod sync;
pub(crate) mod table;
pub(crate) mod trace;
pub(crate) mod units;
pub(crate) mod vrrp;

use serde::Serialize;

use crate::args::Format;
use crate::error::Error;

/// What standard output can show.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Screen {
    /// Whether a person looks at it.
    pub(crate) terminal: bool,
    /// Whether colours may be used; never on anything but a terminal.
    pub(crate) colour: bool,
}

/// How text for a person is to look.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Look {
    pub(crate) wide: bool,
    pub(crate) colour: bool,
}

/// Renders `object` as asked; `text` is the form for a person.
pub(crate) fn render<T: Serialize + ?Sized>(
    object: &T,
    format: Format,
    screen: Screen,
    text: impl FnOnce(Look) -> String,
) -> Result<String, Error> {
    match format {
        Format::Table => Ok(text(Look { wide: false, colour: screen.colour })),
        Format::Wide => Ok(text(Look { wide: true, colour: screen.colour })),
        Format::Json if screen.terminal => serde_json::to_string_pretty(object).map(line),
        Format::Json => serde_json::to_string(object).map(line),
        Format::Yaml => {
            return serde_yaml_ng::to_string(object)
                .map_err(|error| Error::Encode(error.to_string()));
        }
    }
    .map_err(|error: serde_json::Error| Error::Encode(error.to_string()))
}

/// A line for each text, with something before it.
fn prefixed<T: AsRef<str>>(before: &str, texts: impl IntoIterator<Item = T>) -> String {
    let mut lines = String::new();
    for text in texts {
        for part in [before, text.as_ref(), "\n"] {
            lines.push_str(part);
        }
    }
    lines
}

fn line(mut text: String) -> String {
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use lb_common::api::Applied;

    use super::*;

    fn applied() -> Applied {
        Applied { changes: vec!["backend shop/web1: state drain".into()], ..Applied::default() }
    }

    fn rendered(format: Format, terminal: bool) -> String {
        let screen = Screen { terminal, colour: false };
        render(&applied(), format, screen, |look| format!("wide {}\n", look.wide)).unwrap()
    }

    #[test]
    fn json_is_one_line_for_a_script_and_indented_for_a_person() {
        let line = "{\"changes\":[\"backend shop/web1: state drain\"],\"dry_run\":false}\n";
        assert_eq!(rendered(Format::Json, false), line);
        assert!(rendered(Format::Json, true).starts_with("{\n  \"changes\": [\n"));
    }

    #[test]
    fn yaml_has_the_same_keys() {
        assert_eq!(
            rendered(Format::Yaml, false),
            "changes:\n- 'backend shop/web1: state drain'\ndry_run: false\n"
        );
    }

    #[test]
    fn wide_is_told_to_the_text() {
        assert_eq!(rendered(Format::Table, false), "wide false\n");
        assert_eq!(rendered(Format::Wide, false), "wide true\n");
    }
}
