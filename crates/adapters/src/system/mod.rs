//! Clock, ids and chance of the real world. The only place that may ask for them.

mod clock;
mod ids;
mod jitter;

pub use clock::SystemClock;
pub use ids::SystemIds;
pub use jitter::SystemJitter;
