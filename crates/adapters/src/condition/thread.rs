//! The threads on which expressions are read and evaluated. Their stacks are
//! large enough for every expression that the limits let pass, in a debug build
//! too, and a panic of the library ends one answer and not the thread.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{Arc, mpsc};

use cel::Env;
use serde_json::Value;
use taskflow_application::ports::{ConditionFault, EvaluationFault, Question, Scope, Wanted};
use tokio::sync::oneshot;

use super::program::{self, Program};
use super::{convert, cost, fault};

/// The stack of each thread: address space, of which only what is used is taken.
const STACK: usize = 64 * 1024 * 1024;
/// Compiled sources that each thread keeps.
const KEPT: usize = 4_096;

/// What a thread is asked.
pub(super) enum Ask {
    /// Whether sources can be kept.
    Check { questions: Vec<Question>, answer: oneshot::Sender<Vec<Vec<ConditionFault>>> },
    /// What sources say about a scope.
    Evaluate {
        sources: Vec<(Arc<str>, Wanted)>,
        scope: Arc<Scope>,
        answer: oneshot::Sender<Vec<Result<Value, EvaluationFault>>>,
    },
}

/// One thread. It ends when this is dropped.
pub(super) struct Thread {
    asks: mpsc::Sender<Ask>,
}

impl Thread {
    pub(super) fn start(index: usize) -> std::io::Result<Self> {
        let (asks, inbox) = mpsc::channel();
        let builder = std::thread::Builder::new().name(format!("condition-{index}")).stack_size(STACK);
        builder.spawn(move || {
            let mut desk = Desk { env: Arc::new(cost::environment()), programs: HashMap::new() };
            for ask in inbox {
                desk.serve(ask);
            }
        })?;
        Ok(Self { asks })
    }

    /// Asks; if the thread has gone, the answer's channel closes with the ask.
    pub(super) fn send(&self, ask: Ask) {
        drop(self.asks.send(ask));
    }
}

fn unread() -> ConditionFault {
    ConditionFault { message: "cannot be read".to_owned(), offset: None }
}

type Compiled = Rc<Result<Program, Vec<ConditionFault>>>;

struct Desk {
    env: Arc<Env>,
    programs: HashMap<Arc<str>, Compiled>,
}

impl Desk {
    /// Who does not wait for an answer any more is not told it.
    fn serve(&mut self, ask: Ask) {
        match ask {
            Ask::Check { questions, answer } => {
                drop(answer.send(questions.iter().map(Self::check).collect()));
            }
            Ask::Evaluate { sources, scope, answer } => {
                let evaluate = |(source, wanted)| self.evaluate(&source, wanted, &scope);
                drop(answer.send(sources.into_iter().map(evaluate).collect()));
            }
        }
    }

    fn compile(&mut self, source: &Arc<str>) -> Compiled {
        if let Some(known) = self.programs.get(source) {
            return Rc::clone(known);
        }
        let read = catch_unwind(AssertUnwindSafe(|| Program::compile(source)));
        let compiled = Rc::new(read.unwrap_or_else(|_| Err(vec![unread()])));
        if self.programs.len() >= KEPT {
            self.programs.clear();
        }
        self.programs.insert(Arc::clone(source), Rc::clone(&compiled));
        compiled
    }

    fn check(question: &Question) -> Vec<ConditionFault> {
        let ask = || program::faults(&question.source, question.variables, question.wanted);
        catch_unwind(AssertUnwindSafe(ask)).unwrap_or_else(|_| vec![unread()])
    }

    fn evaluate(
        &mut self,
        source: &Arc<str>,
        wanted: Wanted,
        scope: &Scope,
    ) -> Result<Value, EvaluationFault> {
        let compiled = self.compile(source);
        let program = compiled.as_ref().as_ref().map_err(|faults| {
            let messages: Vec<_> = faults.iter().map(|fault| fault.message.as_str()).collect();
            EvaluationFault::Invalid(messages.join("; "))
        })?;
        let run = catch_unwind(AssertUnwindSafe(|| self.run(program, scope)));
        let value = run.unwrap_or(Err(EvaluationFault::Broken))?;
        match (wanted, &value) {
            (Wanted::Verdict, Value::Bool(_)) | (Wanted::Any, _) => Ok(value),
            (Wanted::Verdict, other) => Err(fault::no_verdict(other)),
        }
    }

    fn run(&self, program: &Program, scope: &Scope) -> Result<Value, EvaluationFault> {
        if let Some(answer) = program.look_up(scope) {
            return answer;
        }
        let context = convert::context(&self.env, program, scope)?;
        cost::refill();
        let answer = cel::Value::resolve(program.expression(), &context);
        if cost::is_spent() {
            return Err(fault::too_costly());
        }
        match answer {
            Ok(value) => convert::to_json(&value),
            Err(error) => Err(fault::of_execution(&error, program, scope)),
        }
    }
}
