//! ICMP errors about replies: from a router or the client itself, to the backend that must hear them.
