//! A source that passed the limits, ready to be evaluated.

use std::collections::{BTreeMap, BTreeSet};

use cel::ExecutionError;
use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, operators};
use cel::parser::PrattParser;
use serde_json::Value;
use taskflow_application::ports::{ConditionFault, EvaluationFault, Known, Scope, Wanted};

use super::cost::{STEP, WEIGH};
use super::path::{Chain, Parts};
use super::{MAX_DEPTH, MAX_LOOPS, MAX_NODES, MAX_SOURCE, fault, semantics};

/// What an expression may call, besides the operators.
const FUNCTIONS: &[&str] = &[
    "bool",
    "bytes",
    "contains",
    "double",
    "duration",
    "dyn",
    "endsWith",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getFullYear",
    "getHours",
    "getMilliseconds",
    "getMinutes",
    "getMonth",
    "getSeconds",
    "indexOf",
    "int",
    "lowerAscii",
    "matches",
    "size",
    "startsWith",
    "string",
    "substring",
    "timestamp",
    "trim",
    "type",
    "uint",
    "upperAscii",
];
const OPERATORS: &[&str] = &[
    operators::CONDITIONAL,
    operators::LOGICAL_AND,
    operators::LOGICAL_OR,
    operators::LOGICAL_NOT,
    operators::SUBSTRACT,
    operators::ADD,
    operators::MULTIPLY,
    operators::DIVIDE,
    operators::MODULO,
    operators::EQUALS,
    operators::NOT_EQUALS,
    operators::GREATER_EQUALS,
    operators::LESS_EQUALS,
    operators::GREATER,
    operators::LESS,
    operators::NEGATE,
    operators::INDEX,
    operators::IN,
    operators::NOT_STRICTLY_FALSE,
];
/// Names of types, which stand for themselves.
pub(super) const TYPES: &[&str] =
    &["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"];
/// Names that a loop may not give to its variable.
const RESERVED: &[&str] = &["event", "job", "now", "tenant", "trigger"];

/// A source that passed the limits.
pub(super) struct Program {
    expression: IdedExpr,
    /// The one field that the whole expression is, if it is no more than that.
    plain: Option<Chain>,
    chains: Vec<Chain>,
    parts: BTreeMap<String, Parts>,
}

/// Reads a source, which has to pass the limits.
fn parse(source: &str) -> Result<(IdedExpr, Walk), Vec<ConditionFault>> {
    let refuse = |message: String| Err(vec![ConditionFault { message, offset: None }]);
    if source.trim().is_empty() {
        return refuse("must not be empty".to_owned());
    }
    if source.len() > MAX_SOURCE {
        return refuse(format!("has {} bytes; {MAX_SOURCE} are possible", source.len()));
    }
    let parser = PrattParser::new().max_recursion_depth(MAX_DEPTH).max_expression_node_count(4 * MAX_NODES);
    let parsed = parser.error_recovery_limit(3).parse(source);
    let expression = parsed.map_err(|errors| fault::of_parse(&errors, source))?;
    let mut walk = Walk::default();
    walk.expression(&expression);
    if walk.nodes > MAX_NODES {
        walk.faults.insert(format!("is too long: it has {} nodes; {MAX_NODES} are possible", walk.nodes));
    }
    if !walk.faults.is_empty() {
        return Err(told(walk.faults));
    }
    Ok((expression, walk))
}

fn told(messages: BTreeSet<String>) -> Vec<ConditionFault> {
    messages.into_iter().map(|message| ConditionFault { message, offset: None }).collect()
}

/// What speaks against keeping a source for these variables and that answer.
pub(super) fn faults(source: &str, variables: &[Known], wanted: Wanted) -> Vec<ConditionFault> {
    match parse(source) {
        Ok((expression, _)) => told(semantics::faults(&expression, variables, wanted)),
        Err(faults) => faults,
    }
}

impl Program {
    pub(super) fn compile(source: &str) -> Result<Self, Vec<ConditionFault>> {
        let (expression, walk) = parse(source)?;
        let plain = chain(&expression, &[]);
        let mut parts: BTreeMap<String, Parts> = BTreeMap::new();
        for chain in &walk.chains {
            if let Some((variable, fields)) = chain.steps.split_first() {
                parts.entry(variable.clone()).or_default().add(fields);
            }
        }
        Ok(Self { expression: paying(expression), plain, chains: walk.chains, parts })
    }

    pub(super) const fn expression(&self) -> &IdedExpr {
        &self.expression
    }

    pub(super) fn parts(&self) -> impl Iterator<Item = (&str, &Parts)> {
        self.parts.iter().map(|(name, parts)| (name.as_str(), parts))
    }

    /// The answer, if the expression only names a field: then the value is handed
    /// on as it stands, whatever its size, and no digit of a number is lost.
    pub(super) fn look_up(&self, scope: &Scope) -> Option<Result<Value, EvaluationFault>> {
        let plain = self.plain.as_ref().filter(|plain| !plain.tested)?;
        if !scope.variables.contains_key(plain.steps.first()?.as_str()) {
            return None;
        }
        match plain.missing(scope) {
            Some(path) => Some(Err(EvaluationFault::MissingField { path })),
            None => plain.find(scope).cloned().map(Ok),
        }
    }

    /// The field whose absence `error` speaks of.
    pub(super) fn missing(&self, error: &ExecutionError, scope: &Scope) -> Option<String> {
        let mut missing = self.chains.iter().filter_map(|chain| chain.missing(scope));
        match error {
            ExecutionError::NoSuchKey(key) => {
                missing.find(|path| path.rsplit('.').next().is_some_and(|last| last == key.as_str()))
            }
            // A field of what has no fields.
            ExecutionError::NoSuchOverload(_) | ExecutionError::UnexpectedType { .. } => missing.next(),
            _ => None,
        }
    }
}

/// The chain of fields that `expr` is, unless it begins with a loop's variable.
pub(super) fn chain(expr: &IdedExpr, bound: &[String]) -> Option<Chain> {
    let mut steps = Vec::new();
    let mut tested = false;
    let mut here = &expr.expr;
    loop {
        match here {
            Expr::Select(select) => {
                tested |= select.test;
                steps.push(select.field.clone());
                here = &select.operand.expr;
            }
            Expr::Ident(name) if !name.starts_with('@') && !bound.contains(name) => {
                steps.push(name.clone());
                steps.reverse();
                return Some(Chain { steps, tested });
            }
            _ => return None,
        }
    }
}

/// Looks at every node once.
#[derive(Default)]
struct Walk {
    nodes: usize,
    loops: usize,
    bound: Vec<String>,
    chains: Vec<Chain>,
    faults: BTreeSet<String>,
}

impl Walk {
    fn fault(&mut self, message: impl Into<String>) {
        self.faults.insert(message.into());
    }

    fn expression(&mut self, expr: &IdedExpr) {
        self.nodes += 1;
        match &expr.expr {
            Expr::Literal(_) => {}
            Expr::Unspecified => self.fault("is not an expression"),
            Expr::Struct(_) => self.fault("messages are not possible"),
            Expr::Ident(_) => self.name(expr),
            Expr::Select(select) => {
                if chain(expr, &[]).is_some() {
                    self.name(expr);
                } else {
                    self.expression(&select.operand);
                }
            }
            Expr::Call(call) => self.call(call),
            Expr::List(list) => list.elements.iter().for_each(|element| self.expression(element)),
            Expr::Map(map) => {
                for entry in &map.entries {
                    if let EntryExpr::MapEntry(entry) = &entry.expr {
                        self.expression(&entry.key);
                        self.expression(&entry.value);
                    }
                }
            }
            Expr::Comprehension(comprehension) => {
                self.expression(&comprehension.iter_range);
                self.expression(&comprehension.accu_init);
                if RESERVED.contains(&comprehension.iter_var.as_str()) {
                    self.fault(format!("the name {} is taken", comprehension.iter_var));
                }
                self.loops += 1;
                if self.loops > MAX_LOOPS {
                    self.fault(format!("more than {MAX_LOOPS} comprehensions are nested"));
                }
                let outer = self.bound.len();
                self.bound.push(comprehension.iter_var.clone());
                self.bound.extend(comprehension.iter_var2.clone());
                for part in [&comprehension.loop_cond, &comprehension.loop_step, &comprehension.result] {
                    self.expression(part);
                }
                self.bound.truncate(outer);
                self.loops -= 1;
            }
        }
    }

    /// A variable, and perhaps fields of it.
    fn name(&mut self, expr: &IdedExpr) {
        let Some(chain) = chain(expr, &self.bound) else { return };
        self.nodes += chain.steps.len() - 1;
        let is_type = chain.steps.len() == 1 && TYPES.contains(&chain.steps[0].as_str());
        if !is_type {
            self.chains.push(chain);
        }
    }

    fn call(&mut self, call: &CallExpr) {
        let name = call.func_name.as_str();
        if !OPERATORS.contains(&name) && !FUNCTIONS.contains(&name) {
            self.fault(format!("there is no function {name}"));
        }
        if let Some(target) = &call.target {
            self.expression(target);
        }
        call.args.iter().for_each(|arg| self.expression(arg));
    }
}

fn wrapped(function: &str, expr: IdedExpr) -> IdedExpr {
    // What a literal costs was paid with the source, what a loop has gathered
    // with its elements, and a list pays for its elements.
    let free = match &expr.expr {
        Expr::Literal(_) | Expr::List(_) => true,
        Expr::Ident(name) => name.starts_with('@'),
        _ => false,
    };
    if free {
        return expr;
    }
    let id = expr.id;
    let call = CallExpr { func_name: function.to_owned(), target: None, args: vec![expr] };
    IdedExpr { id, expr: Expr::Call(call) }
}

/// The same expression, paying for what it does. The forms by which the library
/// knows its own loops stay as they are.
pub(super) fn paying(expr: IdedExpr) -> IdedExpr {
    let IdedExpr { id, expr } = expr;
    let weighed = |expr| wrapped(WEIGH, paying(expr));
    let expr = match expr {
        Expr::Call(call) => Expr::Call(paying_call(call)),
        Expr::List(mut list) => {
            list.elements = list.elements.into_iter().map(weighed).collect();
            Expr::List(list)
        }
        Expr::Map(mut map) => {
            for entry in &mut map.entries {
                if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                    entry.key = weighed(std::mem::take(&mut entry.key));
                    entry.value = weighed(std::mem::take(&mut entry.value));
                }
            }
            Expr::Map(map)
        }
        Expr::Select(mut select) => {
            *select.operand = paying(std::mem::take(&mut *select.operand));
            Expr::Select(select)
        }
        Expr::Comprehension(mut comprehension) => {
            comprehension.iter_range = weighed(comprehension.iter_range);
            comprehension.loop_step = paying(comprehension.loop_step);
            Expr::Comprehension(comprehension)
        }
        other => other,
    };
    IdedExpr { id, expr }
}

fn paying_call(call: CallExpr) -> CallExpr {
    let CallExpr { func_name, target, args } = call;
    let function = func_name.as_str();
    let pay = |index: usize, arg: IdedExpr| {
        let arg = paying(arg);
        match (function, index) {
            (operators::NOT_STRICTLY_FALSE, _) | (operators::INDEX, 0) | (operators::CONDITIONAL, 1..) => arg,
            (
                operators::CONDITIONAL | operators::LOGICAL_AND | operators::LOGICAL_OR | operators::INDEX,
                _,
            ) => wrapped(STEP, arg),
            _ => wrapped(WEIGH, arg),
        }
    };
    let args = args.into_iter().enumerate().map(|(index, arg)| pay(index, arg)).collect();
    let target = target.map(|target| Box::new(wrapped(WEIGH, paying(*target))));
    CallExpr { func_name, target, args }
}
