//! Two directors that talk to each other, without sockets.
