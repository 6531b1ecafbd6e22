//! Memory that is used no more goes back to the system.

/// What was made of a million prefixes is soon let go of. The allocator of glibc keeps large blocks once it has seen
/// some freed (its threshold for `mmap` is dynamic), and gives them back when it is told to.
#[cfg(target_env = "gnu")]
pub fn give_back() {
    // SAFETY: the function takes a number, locks what it looks at, and frees nothing that is in use.
    unsafe { nix::libc::malloc_trim(0) };
}

/// Other allocators do it by themselves.
#[cfg(not(target_env = "gnu"))]
pub fn give_back() {}
