//! Reference adapters: the executable meaning of each port.
