//! What is PostgreSQL's own: plans, wake-ups.

mod plans;
mod wakeups;
