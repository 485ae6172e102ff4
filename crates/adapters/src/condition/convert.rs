//! Values of JSON as CEL sees them, and back.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cel::common::types::{
    CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt,
};
use cel::common::value::Val;
use cel::objects::Key;
use cel::{Context, Env};
use serde_json::Value;
use taskflow_application::ports::{EvaluationFault, Scope};
use taskflow_domain::Timestamp;

use super::path::Parts;
use super::program::Program;
use super::{MAX_ELEMENTS, fault};

/// The most values that are handed to an expression.
const MAX_VALUES: usize = 50_000;
/// The deepest nesting of what is handed to an expression.
const MAX_NESTING: usize = 64;

/// The variables that `program` names, with the parts of them that it looks at.
pub(super) fn context<'s>(
    env: &Arc<Env>,
    program: &Program,
    scope: &'s Scope,
) -> Result<Context<'s, 's>, EvaluationFault> {
    let mut context = Context::with_env(Arc::clone(env));
    let mut reader = Reader { left: MAX_VALUES };
    for (name, parts) in program.parts() {
        if name == "now" {
            if let Some(now) = scope.now {
                let now = now.to_datetime().fixed_offset();
                context.add_variable_from_value("now", cel::Value::Timestamp(now));
            }
        } else if let Some(value) = scope.variables.get(name) {
            context.add_variable_as_val(name, reader.parts(value, parts)?);
        }
    }
    Ok(context)
}

struct Reader {
    left: usize,
}

type Read<'s> = Result<Box<dyn Val + 's>, EvaluationFault>;

impl Reader {
    fn parts<'s>(&mut self, value: &'s Value, parts: &Parts) -> Read<'s> {
        let Value::Object(members) = value else { return self.whole(value, 0) };
        if parts.whole() {
            return self.whole(value, 0);
        }
        let mut map = HashMap::new();
        for name in parts.names() {
            if let (Some((key, member)), Some(parts)) = (members.get_key_value(name), parts.member(name)) {
                map.insert(CelMapKey::from(key.as_str()), self.parts(member, parts)?);
            }
        }
        Ok(Box::new(CelMap::from(map)))
    }

    fn whole<'s>(&mut self, value: &'s Value, depth: usize) -> Read<'s> {
        self.left = self.left.checked_sub(1).filter(|_| depth <= MAX_NESTING).ok_or_else(fault::too_large)?;
        Ok(match value {
            Value::Null => Box::new(CelNull),
            Value::Bool(answer) => Box::new(CelBool::from(*answer)),
            Value::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(int), _) => Box::new(CelInt::from(int)),
                (None, Some(uint)) => Box::new(CelUInt::from(uint)),
                (None, None) => Box::new(CelDouble::from(number.as_f64().unwrap_or(f64::NAN))),
            },
            Value::String(text) => Box::new(CelString::from(text.as_str())),
            Value::Array(elements) if elements.len() > MAX_ELEMENTS => {
                return Err(fault::too_many_elements(elements.len()));
            }
            Value::Array(elements) => {
                let elements = elements.iter().map(|element| self.whole(element, depth + 1));
                Box::new(CelList::from(elements.collect::<Result<Vec<_>, _>>()?))
            }
            Value::Object(members) => {
                let mut map = HashMap::with_capacity(members.len());
                for (key, member) in members {
                    map.insert(CelMapKey::from(key.as_str()), self.whole(member, depth + 1)?);
                }
                Box::new(CelMap::from(map))
            }
        })
    }
}

/// The answer of an expression in JSON: a time as RFC 3339, a duration in
/// seconds with an `s` behind them, bytes in Base64.
pub(super) fn to_json(value: &cel::Value) -> Result<Value, EvaluationFault> {
    let no_json = |what: &str| Err(EvaluationFault::Type(format!("{what} is not a value that JSON has")));
    Ok(match value {
        cel::Value::Null => Value::Null,
        cel::Value::Bool(answer) => Value::Bool(*answer),
        cel::Value::Int(number) => Value::from(*number),
        cel::Value::UInt(number) => Value::from(*number),
        cel::Value::Float(number) => match serde_json::Number::from_f64(*number) {
            Some(number) => Value::Number(number),
            None => return no_json("an infinite number"),
        },
        cel::Value::String(text) => Value::String(text.to_string()),
        cel::Value::Bytes(bytes) => Value::String(STANDARD.encode(bytes.as_slice())),
        cel::Value::Timestamp(at) => Value::String(Timestamp::from_datetime(at.to_utc()).to_string()),
        cel::Value::Duration(length) => {
            let micros = length.num_microseconds().unwrap_or(i64::MAX);
            Value::String(format!("{}s", micros as f64 / 1_000_000.0))
        }
        cel::Value::List(elements) => Value::Array(elements.iter().map(to_json).collect::<Result<_, _>>()?),
        cel::Value::Map(map) => {
            let member = |(key, member): (&Key, &cel::Value)| Ok((key.to_string(), to_json(member)?));
            Value::Object(map.map.iter().map(member).collect::<Result<_, EvaluationFault>>()?)
        }
        _ => return no_json("a type"),
    })
}
