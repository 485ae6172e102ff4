//! What TaskFlow does: the use cases, and the ports that they stand on.
//!
//! A use case asks the domain what a wish means and a port to commit it. No
//! transaction crosses a port: what must happen together is one port method.

pub mod memory;
pub mod ports;
