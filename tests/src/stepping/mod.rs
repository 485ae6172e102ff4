//! Statement by statement: the real PostgreSQL store, stepped from outside.
//!
//! Each session is a store that reaches the server through a proxy of its own.
//! The proxy knows just enough of the protocol to hold back what belongs to one
//! statement until it is let through. So two or three operations can be run in
//! every order of their statements, without a word of it in the store.

mod gate;
mod order;
mod proxy;
mod run;
mod touch;

pub use gate::Gate;
pub use order::{Orders, Outcome, Plan};
pub use proxy::Proxy;
pub use run::{afterwards, in_order};
pub use touch::{Tables, Touch};
