-- Times are microseconds since the Unix epoch, ids of jobs 16-byte blobs, documents the text as sent.
--
-- Where a job is only ever looked up, its key begins with its id: ids rise with
-- time, so jobs that come in together lie together, whosever they are, and a
-- commit dirties few pages. Only what is read in the order of one tenant's jobs
-- begins with the tenant.

create table tenant (
  id integer primary key,
  slug text not null unique,
  attributes text not null,
  weight integer not null check (weight between 1 and 1000),
  max_running integer check (max_running >= 0),
  max_backlog integer check (max_backlog >= 0),
  paused integer not null check (paused in (0, 1)),
  created_at integer not null,
  updated_at integer not null
) strict;
insert into tenant (slug, attributes, weight, paused, created_at, updated_at)
values ('default', '{}', 1, 0, 0, 0);

create table queue (
  id integer primary key,
  name text not null unique,
  max_running integer check (max_running >= 0),
  running integer not null default 0,
  max_running_per_tenant integer check (max_running_per_tenant >= 0),
  rate_limit integer check (rate_limit > 0),
  rate_period_ms integer check (rate_period_ms > 0),
  bucket_micro integer not null default 0,
  bucket_at integer not null default 0,
  paused integer not null default 0 check (paused in (0, 1)),
  pause_reason text,
  pause_actor text,
  paused_at integer,
  paused_until integer,
  check ((rate_limit is null) = (rate_period_ms is null)),
  check (paused = 0 or (pause_actor is not null and paused_at is not null))
) strict;

-- Kinds are only names. Id 0 never occurs here: it is the route of the engine's own worker.
create table kind (
  id integer primary key,
  name text not null unique
) strict;

-- What a job of this kind of this tenant takes, as a moving average of slot time.
create table kind_cost (
  tenant_id integer not null,
  kind_id integer not null,
  cost_us integer not null check (cost_us >= 0),
  primary key (tenant_id, kind_id)
) strict, without rowid;

-- One row for each limit that is set: on a tenant (queue_id is null), or on a tenant in a queue.
create table limit_slot (
  id integer primary key,
  tenant_id integer not null,
  queue_id integer,
  max_running integer not null check (max_running >= 0),
  running integer not null default 0
) strict;
create unique index limit_slot_key on limit_slot (tenant_id, coalesce(queue_id, 0));
create index limit_slot_queue on limit_slot (queue_id) where queue_id is not null;

create table lane (
  id integer primary key,
  tenant_id integer not null,
  queue_id integer not null,
  route integer not null,
  weight integer not null check (weight between 1 and 1000),
  virtual_us integer not null default 0,
  cost_us integer not null,
  active integer not null default 0 check (active in (0, 1)),
  blocked integer not null default 0 check (blocked in (0, 1)),
  paused integer not null default 0 check (paused in (0, 1)),
  tenant_slot integer,
  queue_slot integer,
  unique (tenant_id, queue_id, route)
) strict;
-- Serves both the search for queues that have work for a route, and the search for the next lane of one.
create index lane_next on lane (route, queue_id, virtual_us, id)
  where active = 1 and blocked = 0 and paused = 0;
create index lane_queue on lane (queue_id);
create index lane_blocked on lane (id) where blocked = 1;
create index lane_tenant_slot on lane (tenant_slot) where tenant_slot is not null;
create index lane_queue_slot on lane (queue_slot) where queue_slot is not null;

create table job (
  tenant_id integer not null,
  id blob not null check (length(id) = 16),
  queue_id integer not null,
  kind_id integer not null,
  lane_id integer not null,
  priority integer not null check (priority between 0 and 4),
  payload text not null,
  labels text,
  target text,
  retry_policy text,
  timeout_ms integer not null,
  idempotency_key text,
  correlation_id blob check (length(correlation_id) = 16),
  parent_job_id blob check (length(parent_job_id) = 16),
  rule_id blob check (length(rule_id) = 16),
  firing_id blob check (length(firing_id) = 16),
  traceparent text,
  created_by text not null,
  created_at integer not null,
  run_at integer not null,
  primary key (tenant_id, id)
) strict;
create index job_correlation on job (tenant_id, correlation_id, id) where correlation_id is not null;
create index job_rule on job (tenant_id, rule_id, id) where rule_id is not null;

create table idempotency (
  tenant_id integer not null,
  key text not null,
  job_id blob not null check (length(job_id) = 16),
  fingerprint blob not null check (length(fingerprint) = 32),
  created_at integer not null,
  primary key (tenant_id, key)
) strict, without rowid;
create index idempotency_job on idempotency (tenant_id, job_id);

create table job_label (
  tenant_id integer not null,
  key text not null,
  value text not null,
  job_id blob not null check (length(job_id) = 16),
  primary key (tenant_id, key, value, job_id)
) strict, without rowid;

-- Where a job stands: exactly one row in exactly one of the four tables that follow.
create table ready (
  tenant_id integer not null,
  job_id blob not null check (length(job_id) = 16),
  lane_id integer not null,
  ord integer not null,
  kind_id integer not null,
  priority integer not null check (priority between 0 and 4),
  due_at integer not null,
  since integer not null,
  attempt integer not null check (attempt between 0 and 32767),
  spent integer not null check (spent >= 0),
  lost integer not null check (lost >= 0),
  interrupted integer not null check (interrupted >= 0),
  snoozed integer not null check (snoozed >= 0),
  seq integer not null check (seq > 0),
  primary key (job_id, tenant_id)
) strict, without rowid;
create index ready_next on ready (lane_id, ord, job_id);

create table parked (
  tenant_id integer not null,
  job_id blob not null check (length(job_id) = 16),
  lane_id integer not null,
  kind_id integer not null,
  priority integer not null check (priority between 0 and 4),
  due_at integer not null,
  since integer not null,
  attempt integer not null check (attempt between 0 and 32767),
  spent integer not null check (spent >= 0),
  lost integer not null check (lost >= 0),
  interrupted integer not null check (interrupted >= 0),
  snoozed integer not null check (snoozed >= 0),
  seq integer not null check (seq > 0),
  state integer not null check (state in (0, 1, 4)),
  delay integer not null check (delay between 0 and 2),
  waiting integer not null check (waiting in (0, 1)),
  primary key (job_id, tenant_id)
) strict, without rowid;
create index parked_due on parked (due_at) where state = 1;
create index parked_state on parked (tenant_id, state, job_id);

create table running (
  tenant_id integer not null,
  job_id blob not null check (length(job_id) = 16),
  lane_id integer not null,
  kind_id integer not null,
  priority integer not null check (priority between 0 and 4),
  due_at integer not null,
  started_at integer not null,
  worker_id integer not null,
  token integer not null,
  lease_until integer,
  charged_us integer not null check (charged_us >= 0),
  cancel_at integer,
  cancel_actor text,
  attempt integer not null check (attempt between 1 and 32767),
  spent integer not null check (spent >= 0),
  lost integer not null check (lost >= 0),
  interrupted integer not null check (interrupted >= 0),
  snoozed integer not null check (snoozed >= 0),
  seq integer not null check (seq > 1),
  started_seq integer not null check (started_seq between 2 and seq),
  primary key (job_id, tenant_id),
  check ((cancel_at is null) = (cancel_actor is null))
) strict, without rowid;
create index running_worker on running (worker_id);
create index running_lease on running (lease_until) where lease_until is not null;

-- Where an attempt ended the job, it stands here as well and has no row in `attempt`: its number is
-- `attempt`, it led to `state`, its end is entry `seq`.
create table finished (
  tenant_id integer not null,
  job_id blob not null check (length(job_id) = 16),
  lane_id integer not null,
  kind_id integer not null,
  state integer not null check (state between 5 and 8),
  reason text,
  finished_at integer not null,
  started_at integer,
  token integer,
  worker_id integer,
  started_seq integer,
  outcome integer check (outcome between 0 and 6),
  error_kind text,
  error_message text,
  result text,
  attempt integer not null check (attempt between 0 and 32767),
  spent integer not null check (spent >= 0),
  lost integer not null check (lost >= 0),
  interrupted integer not null check (interrupted >= 0),
  snoozed integer not null check (snoozed >= 0),
  seq integer not null check (seq > 0),
  primary key (job_id, tenant_id),
  check ((worker_id is null) = (token is null) and (worker_id is null) = (started_at is null)
    and (worker_id is null) = (started_seq is null) and (worker_id is null) = (outcome is null))
) strict, without rowid;
create index finished_state on finished (tenant_id, state, job_id);
create index finished_at on finished (state, finished_at);

-- Written once, when the attempt ends, unless the job ends with it. The running attempt is the row in `running`.
create table attempt (
  tenant_id integer not null,
  job_id blob not null check (length(job_id) = 16),
  number integer not null check (number between 1 and 32767),
  worker_id integer not null,
  token integer not null,
  started_at integer not null,
  finished_at integer not null,
  outcome integer not null check (outcome between 0 and 6),
  error_kind text,
  error_message text,
  result text,
  then_state integer not null check (then_state between 0 and 8),
  next_run_at integer,
  reason text,
  started_seq integer not null,
  ended_seq integer not null check (ended_seq > started_seq),
  primary key (job_id, tenant_id, number)
) strict, without rowid;

-- Only the entries that do not follow from the job and its attempts.
create table job_event (
  tenant_id integer not null,
  job_id blob not null check (length(job_id) = 16),
  seq integer not null check (seq > 0),
  kind integer not null check (kind between 0 and 14),
  at integer not null,
  actor text not null,
  data text not null,
  primary key (job_id, tenant_id, seq)
) strict, without rowid;

create table progress (
  tenant_id integer not null,
  job_id blob not null check (length(job_id) = 16),
  percent integer not null check (percent between 0 and 100),
  message text,
  succeeded integer not null,
  failed integer not null,
  at integer not null,
  primary key (job_id, tenant_id)
) strict, without rowid;

-- A worker that left stays as the name that its attempts refer to, no longer known.
-- Names are each tenant's own; those without a tenant are the engine's. One that
-- was never handed a job (`used`) is referred to by nothing, and can be deleted.
create table worker (
  id integer primary key,
  name text not null,
  tenant_id integer,
  queues text not null,
  kinds text not null,
  slots integer not null,
  known integer not null check (known in (0, 1)),
  used integer not null default 0 check (used in (0, 1)),
  started_at integer not null,
  beat_at integer not null,
  lease_until integer not null
) strict;

create unique index worker_name on worker (coalesce(tenant_id, 0), name);

-- How many jobs of a queue are in a state, kept as they move.
create table depth (
  queue_id integer not null,
  state integer not null check (state between 0 and 8),
  n integer not null,
  primary key (queue_id, state)
) strict, without rowid;
