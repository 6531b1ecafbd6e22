//! How much a listener is asked for: the words of a [`Guard`], which the packet path counts in.
//!
//! A token bucket is one word: the nanosecond of the monotonic clock at which it is full again. A token is the time
//! in which one comes; that of the entry of the listener. So a bucket has no other state, and one compare-and-swap
//! takes a token, exactly, whatever number of CPUs want one.

use super::Bucket;

/// What is kept of a listener, on a cache line of its own.
pub type Guard = Bucket;

/// The bucket of new flows.
pub const NEW_FLOWS: usize = 0;
/// The bucket of SYNs that nothing followed; who answers gives its token back.
pub const UNANSWERED: usize = 1;
/// Until when SYNs are answered with cookies, in nanoseconds of the monotonic clock.
pub const COOKIES_UNTIL: usize = 2;
/// How often that has begun.
pub const FLOODS: usize = 3;

/// For how long SYNs are answered with cookies after there were too many, in nanoseconds.
pub const COOKIES_FOR: u64 = 30_000_000_000;
