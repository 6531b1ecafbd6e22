//! Virtual routers without a network.
