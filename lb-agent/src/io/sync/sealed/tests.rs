//! Two ends of a real connection.
