//! Metrics for Prometheus.

use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use taskflow_application::meter;

use super::{BUILD_INFO, CATALOGUE, Kind};

/// How often [`Metrics::upkeep`] must be called, or histograms grow for ever.
pub const UPKEEP: Duration = Duration::from_secs(5);

/// From half a millisecond to an hour.
const SECONDS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
    3600.0,
];
const JOBS: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0];

/// The process's metrics.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

impl Metrics {
    /// Collects from now on what the process counts. Once in each process.
    pub fn install() -> Result<Self, BuildError> {
        let handle = PrometheusBuilder::new()
            .set_buckets(SECONDS)?
            .set_buckets_for_metric(Matcher::Full(meter::SUBMIT_BATCH.into()), JOBS)?
            .install_recorder()?;
        for entry in CATALOGUE {
            match entry.kind {
                Kind::Counter => metrics::describe_counter!(entry.name, entry.help),
                Kind::Gauge => metrics::describe_gauge!(entry.name, entry.help),
                Kind::Histogram => metrics::describe_histogram!(entry.name, entry.help),
            }
            // A counter that exists from the start shows its first step as a rise.
            if entry.kind == Kind::Counter && entry.labels.is_empty() {
                metrics::counter!(entry.name).absolute(0);
            }
        }
        metrics::gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        Ok(Self(handle))
    }

    /// The text that Prometheus reads.
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Folds what was observed into the histograms.
    pub fn upkeep(&self) {
        self.0.run_upkeep();
    }
}
