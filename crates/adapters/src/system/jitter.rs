//! Chance.

use taskflow_application::ports::Jitter;

/// The machine's random numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemJitter;

impl Jitter for SystemJitter {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that draws random numbers")]
    fn random(&self) -> f64 {
        rand::random()
    }
}
