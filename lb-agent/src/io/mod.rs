//! The daemon's hands: kernel, network, clock and files. What to do is decided in `model`.
