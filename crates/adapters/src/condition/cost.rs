//! What an evaluation costs. The library has neither a budget nor a way to be
//! interrupted, so the expressions are made to pay by themselves: compiling wraps
//! what can be repeated or can be large in calls of two functions that hand back
//! their argument and charge for it.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use cel::common::ast::IdedExpr;
use cel::common::types::{self, CelBool, CelBytes, CelList, CelMap, CelString};
use cel::common::value::{CowVal, Val};
use cel::{Context, Env, ExecutionError, extensions};
use regex::{Regex, RegexBuilder};

use super::BUDGET;
use super::program::paying;

/// Charges 1.
pub(super) const STEP: &str = "@step";
/// Charges 1, and 1 for each value inside, and 1 for each 256 bytes of a text.
pub(super) const WEIGH: &str = "@weigh";

/// A text is matched against a pattern up to this many bytes.
const MAX_HAYSTACK: usize = 16 * 1024;
/// A compiled pattern has at most this many bytes.
const MAX_PATTERN: usize = 64 * 1024;
/// What compiling a pattern costs, in steps.
const PATTERN_COST: u64 = 2_000;
/// Patterns that each thread keeps.
const PATTERNS: usize = 64;

thread_local! {
    static LEFT: Cell<u64> = const { Cell::new(0) };
    static SPENT: Cell<bool> = const { Cell::new(false) };
    static KEPT: RefCell<Vec<(String, Regex)>> = const { RefCell::new(Vec::new()) };
}

/// Gives the evaluation that begins on this thread its budget.
pub(super) fn refill() {
    LEFT.set(BUDGET);
    SPENT.set(false);
}

/// Whether the budget was not enough. An error inside of `||` may be overlooked
/// by the expression; this may not.
pub(super) fn is_spent() -> bool {
    SPENT.get()
}

fn pay(price: u64) -> Result<(), ExecutionError> {
    if let Some(left) = LEFT.get().checked_sub(price) {
        LEFT.set(left);
    } else {
        LEFT.set(0);
        SPENT.set(true);
    }
    if SPENT.get() { Err(ExecutionError::function_error("cost", "the budget is spent")) } else { Ok(()) }
}

fn only<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    args.into_iter().next().ok_or_else(ExecutionError::missing_argument_or_target)
}

fn step<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    pay(1)?;
    only(args)
}

fn weigh<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let value = only(args)?;
    let mut left = LEFT.get();
    let enough = weight(value.as_ref(), &mut left);
    pay(if enough.is_some() { LEFT.get() - left } else { LEFT.get() + 1 })?;
    Ok(value)
}

/// Takes the weight of `value` from `left`, and stops where nothing is left.
fn weight<'b, 'v>(value: &'b (dyn Val + 'v), left: &mut u64) -> Option<()> {
    let bytes = value.downcast_ref::<CelString<'v>>().map_or(0, |text| text.inner().len())
        + value.downcast_ref::<CelBytes<'v>>().map_or(0, |bytes| bytes.inner().len());
    *left = left.checked_sub(1 + bytes as u64 / 256)?;
    if let Some(list) = value.downcast_ref::<CelList<'v>>() {
        list.inner().iter().try_for_each(|element| weight(element.as_ref(), left))
    } else if let Some(map) = value.downcast_ref::<CelMap<'v>>() {
        map.inner().values().try_for_each(|member| weight(member.as_ref(), left))
    } else {
        Some(())
    }
}

/// A pattern made ready, or what is wrong with it.
pub(super) fn pattern(pattern: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(pattern).size_limit(MAX_PATTERN).dfa_size_limit(MAX_PATTERN * 4).build();
    built.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => "the pattern is too large".to_owned(),
        // The library draws a picture of the pattern, and says what is wrong in the last line.
        error => {
            let told = error.to_string();
            let why = told.lines().last().unwrap_or_default().trim_start_matches("error: ");
            format!("the pattern cannot be read: {why}")
        }
    })
}

/// The answer of an expression without variables.
pub(super) fn constant(expression: &IdedExpr) -> Result<cel::Value, ExecutionError> {
    thread_local! {
        static ENV: Arc<Env> = Arc::new(environment());
    }
    refill();
    let context = ENV.with(|env| Context::with_env(Arc::clone(env)));
    cel::Value::resolve(&paying(expression.clone()), &context)
}

#[expect(clippy::needless_pass_by_value, reason = "the library calls functions of this form")]
fn matches<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let text = |index: usize| args.get(index).and_then(|arg| arg.as_ref().downcast_ref::<CelString<'v>>());
    let (Some(text), Some(pattern)) = (text(0), text(1)) else {
        return Err(ExecutionError::missing_argument_or_target());
    };
    let refuse = |message: String| Err(ExecutionError::function_error("matches", message));
    let (text, pattern) = (text.inner(), pattern.inner());
    if text.len() > MAX_HAYSTACK {
        return refuse(format!("a text of more than {MAX_HAYSTACK} bytes cannot be matched"));
    }
    pay(1 + text.len() as u64 / 2)?;
    KEPT.with_borrow_mut(|kept| {
        let index = if let Some(index) = kept.iter().position(|(known, _)| known == pattern) {
            index
        } else {
            pay(PATTERN_COST)?;
            let regex = match self::pattern(pattern) {
                Ok(regex) => regex,
                Err(message) => return refuse(message),
            };
            if kept.len() >= PATTERNS {
                kept.remove(0);
            }
            kept.push((pattern.to_owned(), regex));
            kept.len() - 1
        };
        let met = kept.get(index).is_some_and(|(_, regex)| regex.is_match(text));
        Ok(CowVal::owned(CelBool::from(met)))
    })
}

/// The functions that expressions may call, and those that charge for them.
pub(super) fn environment() -> Env {
    let mut env = Env::default().with_optional_support(false).with_stdlib();
    let added = [
        env.add_extension(extensions::strings),
        env.add_overload(STEP, "taskflow_step", vec![types::DYN_TYPE], step),
        env.add_overload(WEIGH, "taskflow_weigh", vec![types::DYN_TYPE], weigh),
        env.add_overload(
            "matches",
            "taskflow_matches",
            vec![types::STRING_TYPE, types::STRING_TYPE],
            matches,
        ),
        env.add_member_overload(
            "matches",
            "taskflow_matches_member",
            types::STRING_TYPE,
            vec![types::STRING_TYPE],
            matches,
        ),
    ];
    for error in added.into_iter().filter_map(Result::err) {
        tracing::error!(error.message = %error, "a function of conditions could not be declared");
    }
    env
}
