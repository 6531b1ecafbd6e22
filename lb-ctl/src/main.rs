//! `lb-ctl`, the command line of Sluice; everything is in the library, which also makes the manual pages.

use std::process::ExitCode;

fn main() -> ExitCode {
    lb_ctl::main()
}
