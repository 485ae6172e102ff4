//! What can be said against an expression before anybody asks it: fields that
//! never are, types that never go together, functions with too few or too many
//! arguments, patterns that cannot be read, and parts without variables that have
//! no answer. Only what is wrong whatever happens is a fault: a type that is not
//! known goes with everything.

use std::collections::BTreeSet;

use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators};
use taskflow_application::ports::{Known, Shape, Wanted};

use super::path::Chain;
use super::program::{TYPES, chain};
use super::{cost, fault};

/// A type, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Bool,
    Number,
    Text,
    Bytes,
    List,
    Map,
    Time,
    Duration,
    Null,
    Type,
}

impl Kind {
    const fn words(self) -> &'static str {
        match self {
            Self::Bool => "a boolean",
            Self::Number => "a number",
            Self::Text => "a text",
            Self::Bytes => "bytes",
            Self::List => "a list",
            Self::Map => "an object",
            Self::Time => "a time",
            Self::Duration => "a duration",
            Self::Null => "null",
            Self::Type => "a type",
        }
    }
}

/// Everything that speaks against keeping `expression` for these variables and
/// that answer.
pub(super) fn faults(expression: &IdedExpr, variables: &[Known], wanted: Wanted) -> BTreeSet<String> {
    let mut judge = Judge { variables, bound: Vec::new(), constant: false, faults: BTreeSet::new() };
    match judge.kind(expression) {
        Some(Kind::Bool) => {}
        _ if wanted != Wanted::Verdict => {}
        Some(kind) => judge.note(format!("a condition must be true or false, and this is {}", kind.words())),
        None if is_computed(expression) => {
            judge.note("a condition must be true or false, and this is what something adds up to".to_owned());
        }
        None => {}
    }
    judge.faults
}

struct Judge<'a> {
    variables: &'a [Known],
    bound: Vec<String>,
    /// Whether a part without variables is being judged.
    constant: bool,
    faults: BTreeSet<String>,
}

impl Judge<'_> {
    fn note(&mut self, message: String) {
        self.faults.insert(message);
    }

    /// The type of the answer, if it is known.
    fn kind(&mut self, expr: &IdedExpr) -> Option<Kind> {
        match &expr.expr {
            Expr::Literal(literal) => Some(of_literal(literal)),
            Expr::Ident(_) | Expr::Select(_) if let Some(chain) = chain(expr, &self.bound) => {
                self.field(&chain)
            }
            Expr::Select(select) => {
                let operand = self.kind(&select.operand);
                if let Some(kind) = operand.filter(|kind| *kind != Kind::Map) {
                    self.note(format!("{} has no field {}", kind.words(), select.field));
                }
                select.test.then_some(Kind::Bool)
            }
            Expr::Call(call) => self.call(expr, call),
            Expr::List(list) => {
                list.elements.iter().for_each(|element| _ = self.kind(element));
                Some(Kind::List)
            }
            Expr::Map(map) => {
                for entry in &map.entries {
                    if let EntryExpr::MapEntry(entry) = &entry.expr {
                        self.kind(&entry.key);
                        self.kind(&entry.value);
                    }
                }
                Some(Kind::Map)
            }
            Expr::Comprehension(comprehension) => {
                let over = self.kind(&comprehension.iter_range);
                if let Some(kind) = over.filter(|kind| !matches!(kind, Kind::List | Kind::Map)) {
                    self.note(format!("{} has no elements", kind.words()));
                }
                let outer = self.bound.len();
                self.bound.push(comprehension.iter_var.clone());
                self.bound.extend(comprehension.iter_var2.clone());
                for part in [&comprehension.loop_step, &comprehension.result] {
                    self.kind(part);
                }
                self.bound.truncate(outer);
                None
            }
            _ => None,
        }
    }

    /// The type of a field of a variable, which has to be one that can be there.
    fn field(&mut self, chain: &Chain) -> Option<Kind> {
        let (variable, fields) = chain.steps.split_first()?;
        let Some(mut shape) = Known::find(self.variables, variable) else {
            if fields.is_empty() && TYPES.contains(&variable.as_str()) {
                return Some(Kind::Type);
            }
            let known = Known::names(self.variables);
            self.note(format!("there is no variable {variable}; known are {known}"));
            return None;
        };
        for (index, field) in fields.iter().enumerate() {
            let path = || chain.steps[..=index].join(".");
            shape = match shape {
                Shape::Any => return chain.tested.then_some(Kind::Bool),
                Shape::Object(members) => {
                    let Some(shape) = Known::find(members, field) else {
                        let (path, has) = (path(), Known::names(members));
                        self.note(format!("there is no field {path}.{field}; {path} has {has}"));
                        return None;
                    };
                    shape
                }
                Shape::Text | Shape::Number | Shape::Time => {
                    let what = of_shape(shape).map_or("no object", Kind::words);
                    self.note(format!("there is no field {}.{field}: {0} is {what}", path()));
                    return None;
                }
            };
        }
        if chain.tested { Some(Kind::Bool) } else { of_shape(shape) }
    }

    /// A call; one without variables is asked, as a whole, where nothing else
    /// speaks against it.
    fn call(&mut self, expr: &IdedExpr, call: &CallExpr) -> Option<Kind> {
        if self.constant || !is_constant(expr) {
            return self.typed(call);
        }
        let known = self.faults.len();
        self.constant = true;
        let kind = self.typed(call);
        self.constant = false;
        if self.faults.len() > known {
            return kind;
        }
        match cost::constant(expr) {
            Ok(value) => of_value(&value),
            Err(error) => {
                self.note(fault::words(&error));
                None
            }
        }
    }

    fn typed(&mut self, call: &CallExpr) -> Option<Kind> {
        let mut kinds = Vec::with_capacity(call.args.len() + 1);
        for operand in call.target.as_deref().into_iter().chain(&call.args) {
            kinds.push(self.kind(operand));
        }
        let name = call.func_name.as_str();
        match name {
            operators::LOGICAL_AND | operators::LOGICAL_OR | operators::LOGICAL_NOT => {
                self.verdicts(name, &kinds);
                Some(Kind::Bool)
            }
            operators::CONDITIONAL => {
                self.verdicts("?", kinds.get(..1).unwrap_or_default());
                kinds.get(1).copied().flatten().filter(|kind| kinds.get(2) == Some(&Some(*kind)))
            }
            operators::EQUALS | operators::NOT_EQUALS | operators::IN => Some(Kind::Bool),
            operators::NOT_STRICTLY_FALSE | operators::INDEX => None,
            operators::LESS | operators::LESS_EQUALS | operators::GREATER | operators::GREATER_EQUALS => {
                self.compared(&kinds);
                Some(Kind::Bool)
            }
            operators::ADD
            | operators::SUBSTRACT
            | operators::MULTIPLY
            | operators::DIVIDE
            | operators::MODULO
            | operators::NEGATE => self.computed(name, &kinds),
            _ => self.function(name, call, &kinds),
        }
    }

    fn verdicts(&mut self, name: &str, kinds: &[Option<Kind>]) {
        for kind in kinds.iter().flatten().filter(|kind| **kind != Kind::Bool) {
            self.note(format!(
                "{} wants true or false, and there is {}",
                fault::operator(name),
                kind.words()
            ));
        }
    }

    fn compared(&mut self, kinds: &[Option<Kind>]) {
        let ordered = |kind: &Kind| !matches!(kind, Kind::List | Kind::Map | Kind::Null | Kind::Type);
        if let Some(kind) = kinds.iter().flatten().find(|kind| !ordered(kind)) {
            self.note(format!("{} is neither less nor greater", kind.words()));
        } else if let [Some(left), Some(right)] = kinds
            && left != right
        {
            self.note(format!("{} cannot be compared with {}", left.words(), right.words()));
        }
    }

    fn computed(&mut self, name: &str, kinds: &[Option<Kind>]) -> Option<Kind> {
        use Kind::{Bytes, Duration, List, Number, Text, Time};
        let (left, right) = match kinds {
            [Some(left), Some(right)] => (*left, *right),
            [Some(only)] => (*only, *only),
            _ if matches!(name, operators::MULTIPLY | operators::DIVIDE | operators::MODULO) => {
                return Some(Number);
            }
            _ => return kinds.iter().flatten().copied().find(|kind| matches!(kind, Number | Text | List)),
        };
        let of = match (name, left, right) {
            (_, Number, Number) => Some(Number),
            (operators::ADD, Text, Text) => Some(Text),
            (operators::ADD, List, List) => Some(List),
            (operators::ADD, Bytes, Bytes) => Some(Bytes),
            (operators::ADD, Duration, Time) | (operators::ADD | operators::SUBSTRACT, Time, Duration) => {
                Some(Time)
            }
            (operators::SUBSTRACT, Time, Time)
            | (operators::ADD | operators::SUBSTRACT | operators::NEGATE, Duration, Duration) => {
                Some(Duration)
            }
            _ => None,
        };
        if of.is_none() {
            let operands: Vec<_> = kinds.iter().flatten().map(|kind| kind.words()).collect();
            self.note(format!("{} cannot be applied to {}", fault::operator(name), operands.join(" and ")));
        }
        of
    }

    fn function(&mut self, name: &str, call: &CallExpr, kinds: &[Option<Kind>]) -> Option<Kind> {
        use Kind::{Bool, Bytes, Duration, List, Map, Number, Text, Time};
        const ANY: &[Kind] = &[];
        // What it takes at first, how many more, and what it answers.
        let (first, more, answer): (&[Kind], _, _) = match name {
            "contains" | "startsWith" | "endsWith" | "matches" => (&[Text], 1..=1, Some(Bool)),
            "lowerAscii" | "upperAscii" | "trim" => (&[Text], 0..=0, Some(Text)),
            "substring" => (&[Text], 1..=2, Some(Text)),
            "indexOf" => (&[Text], 1..=2, Some(Number)),
            "size" => (&[Text, Bytes, List, Map], 0..=0, Some(Number)),
            "string" => (ANY, 0..=0, Some(Text)),
            "bytes" => (&[Text, Bytes], 0..=0, Some(Bytes)),
            "bool" => (&[Text, Bool], 0..=0, Some(Bool)),
            "int" => (&[Text, Number, Time], 0..=0, Some(Number)),
            "uint" | "double" => (&[Text, Number], 0..=0, Some(Number)),
            "timestamp" => (&[Text, Number, Time], 0..=0, Some(Time)),
            "duration" => (&[Text, Duration], 0..=0, Some(Duration)),
            "type" => (ANY, 0..=0, Some(Kind::Type)),
            "getHours" | "getMinutes" | "getSeconds" | "getMilliseconds" => {
                (&[Time, Duration], 0..=1, Some(Number))
            }
            name if name.starts_with("get") => (&[Time], 0..=1, Some(Number)),
            _ => return None,
        };
        if !more.contains(&kinds.len().saturating_sub(1)) || kinds.is_empty() {
            self.note(format!("{name} has too few or too many arguments"));
            return answer;
        }
        if let Some(Some(kind)) = kinds.first().filter(|_| !first.is_empty())
            && !first.contains(kind)
        {
            self.note(format!("{name} cannot be applied to {}", kind.words()));
        }
        // What else functions take is a text, but for the places in one.
        let texts = !matches!(name, "substring");
        for kind in kinds.iter().skip(1).take(1).flatten().filter(|kind| texts && **kind != Text) {
            self.note(format!("{name} takes a text, and there is {}", kind.words()));
        }
        if name == "matches"
            && let Some(Expr::Literal(LiteralValue::String(pattern))) = call.args.last().map(|arg| &arg.expr)
            && let Err(error) = cost::pattern(pattern.inner())
        {
            self.note(format!("matches: {error}"));
        }
        answer
    }
}

fn of_literal(literal: &LiteralValue) -> Kind {
    match literal {
        LiteralValue::Boolean(_) => Kind::Bool,
        LiteralValue::Bytes(_) => Kind::Bytes,
        LiteralValue::Double(_) | LiteralValue::Int(_) | LiteralValue::UInt(_) => Kind::Number,
        LiteralValue::Null => Kind::Null,
        LiteralValue::String(_) => Kind::Text,
    }
}

const fn of_shape(shape: Shape) -> Option<Kind> {
    match shape {
        Shape::Any => None,
        Shape::Text => Some(Kind::Text),
        Shape::Number => Some(Kind::Number),
        Shape::Time => Some(Kind::Time),
        Shape::Object(_) => Some(Kind::Map),
    }
}

fn of_value(value: &cel::Value) -> Option<Kind> {
    Some(match value {
        cel::Value::Null => Kind::Null,
        cel::Value::Bool(_) => Kind::Bool,
        cel::Value::Int(_) | cel::Value::UInt(_) | cel::Value::Float(_) => Kind::Number,
        cel::Value::String(_) => Kind::Text,
        cel::Value::Bytes(_) => Kind::Bytes,
        cel::Value::Timestamp(_) => Kind::Time,
        cel::Value::Duration(_) => Kind::Duration,
        cel::Value::List(_) => Kind::List,
        cel::Value::Map(_) => Kind::Map,
        _ => return None,
    })
}

/// Whether its answer is no verdict, whatever it is computed from.
fn is_computed(expr: &IdedExpr) -> bool {
    let Expr::Call(call) = &expr.expr else { return false };
    matches!(call.func_name.as_str(), operators::ADD | operators::SUBSTRACT | operators::NEGATE)
}

/// Whether it names nothing, not even an element of a loop, so that one answer
/// holds for ever.
fn is_constant(expr: &IdedExpr) -> bool {
    match &expr.expr {
        Expr::Literal(_) => true,
        Expr::Call(call) => {
            call.func_name != operators::NOT_STRICTLY_FALSE
                && call.target.as_deref().is_none_or(is_constant)
                && call.args.iter().all(is_constant)
        }
        Expr::List(list) => list.elements.iter().all(is_constant),
        _ => false,
    }
}
