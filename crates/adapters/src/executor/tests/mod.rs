//! The executor against a server on loopback, and the guard against its vectors.
