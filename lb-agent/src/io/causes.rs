//! An error and what led to it, in one line.

use std::error::Error;

/// `attach to eth0: load the program: permission denied`
pub fn with_causes(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("read the menu")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn the_cause_follows_what_was_tried() {
        let error = Outer(std::io::Error::other("it is dark"));
        assert_eq!(with_causes(&error), "read the menu: it is dark");
    }
}
