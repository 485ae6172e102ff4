//! What rules need besides the world: conditions and signatures of this run,
//! which answer at once and within the one thread.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use taskflow_application::automation::Tools;
use taskflow_application::ports::{
    ConditionEngine, ConditionFault, DeliveryRefused, EvaluationFault, Question, Scope, Signatures, Verified,
    Wanted,
};
use taskflow_domain::Timestamp;
use taskflow_domain::rule::SignatureSpec;

/// Holds for a job that no rule made.
pub(super) const NO_RULES_JOB: &str = "job.rule_id == null";
/// Holds for the tenants of [`super::plan_rules::MEANT`].
pub(super) const MEANT: &str = "tenant.slug != 'tenant-1' && tenant.slug.startsWith('tenant-')";

/// The tools of a process.
pub(super) fn tools() -> Tools {
    Tools { conditions: Arc::new(Conditions), signatures: Arc::new(Signed) }
}

/// Knows two conditions.
struct Conditions;

#[async_trait]
impl ConditionEngine for Conditions {
    async fn check(&self, questions: Vec<Question>) -> Vec<Vec<ConditionFault>> {
        vec![Vec::new(); questions.len()]
    }

    async fn evaluate(
        &self,
        sources: Vec<(Arc<str>, Wanted)>,
        scope: Arc<Scope>,
    ) -> Vec<Result<Value, EvaluationFault>> {
        let field = |name: &'static str, field: &str| scope.variables.get(name).map(|of| of[field].clone());
        let answer = |(source, _): &(Arc<str>, Wanted)| match source.as_ref() {
            NO_RULES_JOB => field("job", "rule_id").map(|id| Value::Bool(id.is_null())),
            MEANT => field("tenant", "slug").map(|slug| {
                let slug = slug.as_str().unwrap_or_default();
                Value::Bool(slug != "tenant-1" && slug.starts_with("tenant-"))
            }),
            _ => None,
        };
        sources.iter().map(|source| answer(source).ok_or(EvaluationFault::Broken)).collect()
    }
}

/// The header that says what a delivery is called.
pub(super) const ID: &str = "id";
/// The header by which a delivery is known to be good.
pub(super) const GOOD: &str = "good";

/// Takes the sender's word for it.
struct Signed;

impl Signatures for Signed {
    fn verify(
        &self,
        _spec: &SignatureSpec,
        _secrets: &[Vec<u8>],
        headers: &[(String, String)],
        _body: &[u8],
        _now: Timestamp,
    ) -> Result<Verified, DeliveryRefused> {
        let header = |name: &str| headers.iter().find(|(of, _)| of == name).map(|(_, value)| value.clone());
        header(GOOD).ok_or_else(|| DeliveryRefused::Signature("a bad signature".to_owned()))?;
        Ok(Verified { delivery_id: header(ID), challenge: None })
    }
}
