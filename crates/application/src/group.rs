//! Asking for many at once: callers who come while a question is under way are
//! asked for together in the next one.
//!
//! Every question begins after everybody that it is asked for has come, so the
//! answer is never older than the asking. That makes it as good as a question of
//! one's own, at the price of one for all.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use crate::ports::{StoreError, StoreResult};

/// The most that one question may hold.
const MOST: usize = 500;

type Asking<R> = Pin<Box<dyn Future<Output = StoreResult<Vec<R>>> + Send>>;
type Answer<R> = oneshot::Sender<StoreResult<R>>;

struct Line<T, R> {
    waiting: VecDeque<(T, Answer<R>)>,
    asking: bool,
}

/// Asks for many at once.
pub(crate) struct Group<T, R> {
    line: Arc<Mutex<Line<T, R>>>,
    ask: Arc<dyn Fn(Vec<T>) -> Asking<R> + Send + Sync>,
}

impl<T, R> Clone for Group<T, R> {
    fn clone(&self) -> Self {
        Self { line: Arc::clone(&self.line), ask: Arc::clone(&self.ask) }
    }
}

impl<T, R> std::fmt::Debug for Group<T, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Group").finish_non_exhaustive()
    }
}

/// The right to work on the line, given back also by a panic.
struct Turn<T, R>(Arc<Mutex<Line<T, R>>>);

impl<T, R> Drop for Turn<T, R> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut line = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            line.waiting.clear();
            line.asking = false;
        }
    }
}

impl<T: Send + 'static, R: Send + 'static> Group<T, R> {
    /// Asks by `ask`, which answers in the order of what it is asked for.
    pub(crate) fn new(ask: impl Fn(Vec<T>) -> Asking<R> + Send + Sync + 'static) -> Self {
        let line = Line { waiting: VecDeque::new(), asking: false };
        Self { line: Arc::new(Mutex::new(line)), ask: Arc::new(ask) }
    }

    /// Asks for one, together with whoever else asks now.
    pub(crate) async fn ask(&self, one: T) -> StoreResult<R> {
        let (answer, answered) = oneshot::channel();
        if self.enter(one, answer) {
            // A task of its own, so that a caller that goes away does not leave
            // the others without an answer.
            tokio::spawn(self.clone().ask_until_idle());
        }
        answered.await.unwrap_or_else(|_| Err(StoreError::Unavailable("the process is shutting down".into())))
    }

    /// Joins the line; says whether nobody works on it yet.
    fn enter(&self, one: T, answer: Answer<R>) -> bool {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        line.waiting.push_back((one, answer));
        !std::mem::replace(&mut line.asking, true)
    }

    fn next(&self) -> Vec<(T, Answer<R>)> {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        let many = line.waiting.len().min(MOST);
        line.asking = many > 0;
        line.waiting.drain(..many).collect()
    }

    async fn ask_until_idle(self) {
        let _turn = Turn(Arc::clone(&self.line));
        loop {
            let (asked, answers): (Vec<T>, Vec<Answer<R>>) = self.next().into_iter().unzip();
            if asked.is_empty() {
                return;
            }
            match (self.ask)(asked).await {
                // Whoever went away hears nothing.
                Ok(found) => answers.into_iter().zip(found).for_each(|(to, one)| drop(to.send(Ok(one)))),
                Err(fault) => answers.into_iter().for_each(|to| drop(to.send(Err(fault.clone())))),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn who_comes_together_is_asked_for_together() {
        let questions = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&questions);
        let group = Group::new(move |asked: Vec<u32>| {
            counted.fetch_add(1, Ordering::SeqCst);
            Box::pin(async move {
                tokio::task::yield_now().await;
                Ok(asked.into_iter().map(|one| one * 2).collect())
            })
        });
        let asks = (0..100).map(|one| {
            let group = group.clone();
            tokio::spawn(async move { group.ask(one).await })
        });
        for (one, ask) in asks.collect::<Vec<_>>().into_iter().enumerate() {
            assert_eq!(ask.await.unwrap(), Ok(one as u32 * 2));
        }
        assert!(questions.load(Ordering::SeqCst) < 100);
    }
}
