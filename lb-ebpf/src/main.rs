//! lb-ebpf
fn main() {}
