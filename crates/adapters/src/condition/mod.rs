//! Conditions in CEL.
//!
//! The language has no loops of its own, but a parser can be fed a text that
//! nests without end, a comprehension can run over every pair of a list, and a
//! sum of strings can double. So everything happens on threads of its own with
//! large stacks ([`thread`]); a source has to pass limits before anything is
//! kept of it ([`program`]), and must not be wrong whatever happens
//! ([`semantics`]); and every step of an evaluation is paid for from a
//! budget ([`cost`]). Whoever asks is answered in any case.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use taskflow_application::ports::{
    ConditionEngine, ConditionFault, EvaluationFault, Question, Scope, Wanted,
};
use tokio::sync::oneshot;

#[cfg(test)]
mod bombs;
mod convert;
mod cost;
mod fault;
mod path;
mod program;
mod semantics;
#[cfg(test)]
mod tests;
mod thread;

use thread::{Ask, Thread};

/// The longest source, in bytes.
pub const MAX_SOURCE: usize = 4 * 1024;
/// The deepest nesting of a source.
pub const MAX_DEPTH: u16 = 24;
/// The most nodes of an expression, with its macros expanded.
pub const MAX_NODES: usize = 500;
/// How deep comprehensions may be nested.
pub const MAX_LOOPS: usize = 2;
/// The most elements of an array that an expression looks at.
pub const MAX_ELEMENTS: usize = 1_000;
/// What one evaluation may spend: a step costs 1, and so does each value that it
/// copies or compares.
pub const BUDGET: u64 = 12_000;

/// An answer that takes longer is given up. The budget ends an evaluation long
/// before that, so this speaks of a machine that stands still.
const PATIENCE: Duration = Duration::from_secs(10);

/// Evaluates CEL on threads of its own.
pub struct CelEngine {
    threads: Vec<Thread>,
    next: AtomicUsize,
}

impl CelEngine {
    /// An engine with `threads` threads, at least one.
    pub fn start(threads: usize) -> std::io::Result<Self> {
        let threads = (0..threads.max(1)).map(Thread::start).collect::<Result<_, _>>()?;
        Ok(Self { threads, next: AtomicUsize::new(0) })
    }

    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Option<T> {
        let index = self.next.fetch_add(1, Ordering::Relaxed) % self.threads.len();
        let (sender, answer) = oneshot::channel();
        self.threads.get(index)?.send(ask(sender));
        tokio::time::timeout(PATIENCE, answer).await.ok()?.ok()
    }
}

#[async_trait]
impl ConditionEngine for CelEngine {
    async fn check(&self, questions: Vec<Question>) -> Vec<Vec<ConditionFault>> {
        let count = questions.len();
        let answer = self.ask(|answer| Ask::Check { questions, answer }).await;
        let broken = || vec![ConditionFault { message: EvaluationFault::Broken.to_string(), offset: None }];
        answer.unwrap_or_else(|| vec![broken(); count])
    }

    async fn evaluate(
        &self,
        sources: Vec<(Arc<str>, Wanted)>,
        scope: Arc<Scope>,
    ) -> Vec<Result<Value, EvaluationFault>> {
        let count = sources.len();
        if count == 0 {
            return Vec::new();
        }
        let answer = self.ask(|answer| Ask::Evaluate { sources, scope, answer }).await;
        answer.unwrap_or_else(|| vec![Err(EvaluationFault::Broken); count])
    }
}
