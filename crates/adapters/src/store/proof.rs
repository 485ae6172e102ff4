//! The statements of the proof, which both dialects understand. Each counts what is
//! wrong; `$1` is the time before which a runner should have done its duty.
//!
//! The rows of running attempts, and where the jobs stand, are the truth. Of the two
//! checks of sleeping and blocked lanes each dialect has its own statements.

use taskflow_application::ports::Check;

/// Both directions: jobs with no place or several, and places of no job.
const PLACES: &str = "
select
    (select count(*) from job j where 1 <>
        (select count(*) from ready p where p.tenant_id = j.tenant_id and p.job_id = j.id)
        + (select count(*) from parked p where p.tenant_id = j.tenant_id and p.job_id = j.id)
        + (select count(*) from running p where p.tenant_id = j.tenant_id and p.job_id = j.id)
        + (select count(*) from finished p where p.tenant_id = j.tenant_id and p.job_id = j.id))
    + (select count(*) from ready p
        where not exists (select 1 from job j where j.tenant_id = p.tenant_id and j.id = p.job_id))
    + (select count(*) from parked p
        where not exists (select 1 from job j where j.tenant_id = p.tenant_id and j.id = p.job_id))
    + (select count(*) from running p
        where not exists (select 1 from job j where j.tenant_id = p.tenant_id and j.id = p.job_id))
    + (select count(*) from finished p
        where not exists (select 1 from job j where j.tenant_id = p.tenant_id and j.id = p.job_id))";

/// A queue counts only while it has a limit.
const QUEUE_COUNTERS: &str = "
with busy as (
    select l.queue_id, count(*) as n from running r join lane l on l.id = r.lane_id group by l.queue_id)
select count(*) from queue q left join busy b on b.queue_id = q.id
where q.max_running is not null and q.running <> coalesce(b.n, 0)";

const LIMIT_COUNTERS: &str = "
with busy as (
    select l.tenant_id, l.queue_id, count(*) as n
    from running r join lane l on l.id = r.lane_id group by l.tenant_id, l.queue_id)
select count(*) from limit_slot s
where s.running <> coalesce((select sum(b.n) from busy b
    where b.tenant_id = s.tenant_id and (s.queue_id is null or b.queue_id = s.queue_id)), 0)";

const LANE_SETTINGS: &str = "
select count(*) from lane l
join tenant t on t.id = l.tenant_id
join queue q on q.id = l.queue_id
left join limit_slot o on o.id = l.tenant_slot
left join limit_slot i on i.id = l.queue_slot
where l.weight <> t.weight or l.paused <> t.paused
    or o.max_running is distinct from t.max_running
    or i.max_running is distinct from q.max_running_per_tenant
    or (o.id is not null and (o.tenant_id <> l.tenant_id or o.queue_id is not null))
    or (i.id is not null and (i.tenant_id <> l.tenant_id or i.queue_id is distinct from l.queue_id))";

/// `{deltas}` is what was appended and not folded yet, where there is such a thing.
const DEPTHS: &str = "
select count(*) from (
    select queue_id, state, sum(n) as n from (
        select queue_id, state, n from depth
        {deltas}
        union all
        select l.queue_id, 2, -count(*) from ready p join lane l on l.id = p.lane_id group by l.queue_id
        union all
        select l.queue_id, p.state, -count(*) from parked p join lane l on l.id = p.lane_id
        group by l.queue_id, p.state
        union all
        select l.queue_id, 3, -count(*) from running p join lane l on l.id = p.lane_id group by l.queue_id
        union all
        select l.queue_id, p.state, -count(*) from finished p join lane l on l.id = p.lane_id
        group by l.queue_id, p.state) x
    group by queue_id, state) d
where n <> 0";

const EXCEEDED_LIMITS: &str = "
with busy as (
    select l.tenant_id, l.queue_id, count(*) as n
    from running r join lane l on l.id = r.lane_id group by l.tenant_id, l.queue_id)
select
    (select count(*) from queue q
        where q.max_running < (select sum(b.n) from busy b where b.queue_id = q.id))
    + (select count(*) from tenant t
        where t.max_running < (select sum(b.n) from busy b where b.tenant_id = t.id))
    + (select count(*) from busy b join queue q on q.id = b.queue_id where q.max_running_per_tenant < b.n)";

const LOST_LEASES: &str = "
select count(*) from running r
where coalesce(r.lease_until, (select w.lease_until from worker w where w.id = r.worker_id)) < $1";

const OVERDUE_JOBS: &str = "select count(*) from parked where state = 1 and due_at <= $1";

/// The statement of a check; `None` for those that each dialect looks at in its way.
pub(super) fn statement(check: Check, deltas: &str) -> Option<String> {
    let text = match check {
        Check::Places => PLACES,
        Check::QueueCounters => QUEUE_COUNTERS,
        Check::LimitCounters => LIMIT_COUNTERS,
        Check::LaneSettings => LANE_SETTINGS,
        Check::Depths => return Some(DEPTHS.replace("{deltas}", deltas)),
        Check::ExceededLimits => EXCEEDED_LIMITS,
        Check::LostLeases => LOST_LEASES,
        Check::OverdueJobs => OVERDUE_JOBS,
        Check::SleepingLanes | Check::BlockedLanes => return None,
    };
    Some(text.to_owned())
}

/// Whether the statement of a check asks for the time.
pub(super) const fn takes_time(check: Check) -> bool {
    matches!(check, Check::LostLeases | Check::OverdueJobs)
}
