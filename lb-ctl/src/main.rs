//! lb-ctl
fn main() {}
