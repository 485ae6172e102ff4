//! Rules, firings and events as the API shows them.

use taskflow_application::automation::{RuleStats, Simulation};
use taskflow_application::sealing::masked_document;
use taskflow_domain::rule::Mode;
use taskflow_domain::{Firing, FiringOutcome, InboundEvent, Occurrence, Rule, TenantSlug};
use taskflow_protocol::{self as wire, Time};

fn shown(value: &impl serde::Serialize) -> serde_json::Value {
    serde_json::to_value(value).unwrap_or_default()
}

pub(super) fn rule(rule: &Rule, tenant: &TenantSlug) -> wire::Rule {
    let document = masked_document(&rule.document);
    wire::Rule {
        id: rule.id.0,
        tenant: tenant.as_str().to_owned(),
        name: document.name,
        enabled: rule.enabled,
        mode: match rule.mode {
            Mode::Live => wire::RuleMode::Live,
            Mode::Shadow => wire::RuleMode::Shadow,
        },
        revision: rule.revision,
        trigger: shown(&document.trigger),
        for_each_tenant: document.for_each_tenant,
        condition: document.condition,
        actions: document.actions.iter().map(shown).collect(),
        next_at: rule.next_at.map(Time),
        queued_at: rule.queued_at.map(Time),
        error_streak: rule.health.streak,
        failing_since: rule.health.failing_since.map(Time),
        recovered_at: rule.health.recovered_at.map(Time),
        last_at: rule.health.last_at.map(Time),
        last_outcome: rule.health.last_outcome.map(|outcome| outcome.as_str().to_owned()),
        jobs_made: rule.jobs_made,
        created_at: Time(rule.created_at),
        updated_at: Time(rule.updated_at),
    }
}

pub(crate) fn firing(firing: &Firing, tenant: &TenantSlug) -> wire::Firing {
    wire::Firing {
        id: firing.id.0,
        tenant: tenant.as_str().to_owned(),
        rule_id: firing.rule.0,
        revision: firing.revision,
        at: Time(firing.at),
        trigger: firing.trigger.as_str().to_owned(),
        scheduled_at: firing.cause.scheduled_at.map(Time),
        event_id: firing.cause.event.map(|event| event.0),
        caused_by_job_id: firing.cause.job.map(|job| job.0),
        outcome: firing.outcome.as_str().to_owned(),
        reason: firing.reason.clone(),
        detail: firing.detail.clone(),
        job_ids: firing.jobs.iter().map(|job| job.0).collect(),
        duration_us: firing.duration_us,
        depth: firing.depth,
        correlation_id: firing.correlation_id.0,
    }
}

pub(super) fn occurrence(occurrence: &Occurrence) -> wire::ScheduleEntry {
    wire::ScheduleEntry {
        at: Time(occurrence.at),
        local: occurrence.local.clone(),
        note: occurrence.note.map(|note| note.as_str().to_owned()),
    }
}

pub(super) fn stats(stats: &RuleStats) -> wire::RuleStats {
    let sum = |outcome: FiringOutcome| {
        let of = stats.counts.iter().filter(|count| count.outcome == outcome);
        of.map(|count| count.count).sum()
    };
    let count = |count: &taskflow_application::ports::FiringCount| wire::FiringCount {
        outcome: count.outcome.as_str().to_owned(),
        reason: count.reason.clone(),
        count: count.count,
    };
    let health = &stats.rule.health;
    wire::RuleStats {
        firings: stats.counts.iter().map(count).collect(),
        fired: sum(FiringOutcome::Fired),
        skipped: sum(FiringOutcome::Skipped),
        blocked: sum(FiringOutcome::Blocked),
        errors: sum(FiringOutcome::Error),
        shadow: sum(FiringOutcome::Shadow),
        jobs: stats.rule.jobs_made,
        last_at: health.last_at.map(Time),
        last_outcome: health.last_outcome.map(|outcome| outcome.as_str().to_owned()),
        next_at: stats.rule.next_at.map(Time),
        error_streak: health.streak,
        failing_since: health.failing_since.map(Time),
        recovered_at: health.recovered_at.map(Time),
    }
}

pub(super) fn simulation(simulation: Simulation) -> wire::SimulateAnswer {
    wire::SimulateAnswer {
        events_seen: simulation.events_seen,
        matched: simulation.matched,
        errors: simulation.errors,
        jobs: simulation.jobs,
        peak_jobs_per_minute: simulation.peak_jobs_per_minute,
        truncated: simulation.truncated,
        samples: simulation.samples,
    }
}

pub(super) fn inbound(event: &InboundEvent) -> wire::InboundEvent {
    wire::InboundEvent {
        id: event.id.0,
        source: event.source.clone(),
        kind: event.kind.clone(),
        external_id: event.external_id.clone(),
        subject: event.subject.clone(),
        at: Time(event.at),
        received_at: Time(event.received_at),
        rejected: event.rejected.clone(),
        data: event.data.to_value(),
    }
}
