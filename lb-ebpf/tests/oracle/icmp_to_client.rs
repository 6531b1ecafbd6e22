//! ICMP errors about forwarded packets: from a router or the backend itself, to the client.
