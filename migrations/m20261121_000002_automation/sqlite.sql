-- A rule's document, and beside it what the engine keeps of it.
create table rule (
  tenant_id integer not null,
  id blob not null,
  name text not null,
  enabled integer not null,
  mode integer not null check (mode in (0, 1)),
  revision integer not null check (revision > 0),
  body text not null,
  trigger_kind integer not null check (trigger_kind between 0 and 3),
  webhook_key text,
  next_at integer,
  queued_at integer,
  streak integer not null default 0,
  failing_since integer,
  recovered_at integer,
  last_at integer,
  last_outcome integer check (last_outcome between 0 and 4),
  jobs_made integer not null default 0,
  deleted_at integer,
  created_at integer not null,
  updated_at integer not null,
  primary key (tenant_id, id)
) strict;
create index rule_due on rule (next_at, id) where next_at is not null and enabled and deleted_at is null;
create index rule_waiting on rule (queued_at, id) where queued_at is not null and enabled and deleted_at is null;
create index rule_listening on rule (tenant_id, id) where trigger_kind = 2 and enabled and deleted_at is null;
create unique index rule_webhook on rule (webhook_key) where webhook_key is not null and deleted_at is null;

-- What a rule said, by revision, and who made it say so.
create table rule_revision (
  tenant_id integer not null,
  rule_id blob not null,
  revision integer not null,
  enabled integer not null,
  mode integer not null,
  body text not null,
  actor text not null,
  at integer not null,
  primary key (tenant_id, rule_id, revision)
) strict;

-- Slot 0 is the current secret, slot 1 the one before. Sealed by the engine.
create table rule_secret (
  tenant_id integer not null,
  rule_id blob not null,
  slot integer not null check (slot in (0, 1)),
  sealed blob not null,
  expires_at integer,
  primary key (tenant_id, rule_id, slot)
) strict;

-- Firings counted; an empty reason is none.
create table rule_stat (
  tenant_id integer not null,
  rule_id blob not null,
  outcome integer not null,
  reason text not null,
  n integer not null,
  primary key (tenant_id, rule_id, outcome, reason)
) strict;

-- Which ends of jobs a rule of the tenant listens to. Only these are told to the outbox.
create table rule_watch (
  tenant_id integer not null,
  state integer not null check (state between 5 and 8),
  rule_id blob not null,
  primary key (tenant_id, state, rule_id)
) strict;

-- What came from outside. Of one source, one id counts once; what was refused counts not at all.
create table event (
  tenant_id integer not null,
  id blob not null,
  source text not null,
  kind text not null,
  external_id text,
  subject text,
  at integer not null,
  received_at integer not null,
  headers text not null,
  data text not null,
  correlation_id blob not null,
  traceparent text,
  rejected text,
  primary key (tenant_id, id)
) strict;
create unique index event_external on event (tenant_id, source, external_id)
  where external_id is not null and rejected is null;
create index event_source on event (tenant_id, source, id);
create index event_cause on event (tenant_id, correlation_id, id);
create index event_received on event (received_at);

-- What is to be dispatched: an event, or the end of a job. A row leaves with the firings that it caused.
create table event_pending (
  id integer primary key autoincrement,
  tenant_id integer not null,
  event_id blob,
  job_id blob,
  seq integer,
  state integer,
  at integer not null,
  held_until integer not null,
  check ((event_id is null) <> (job_id is null)),
  check ((job_id is null) = (seq is null) and (job_id is null) = (state is null))
) strict;
create index event_pending_event on event_pending (event_id) where event_id is not null;

-- One evaluation of a rule for one tenant. The unique key is the proof that it happened once.
create table firing (
  tenant_id integer not null,
  id blob not null,
  rule_tenant_id integer not null,
  rule_id blob not null,
  revision integer not null,
  at integer not null,
  trigger_kind integer not null check (trigger_kind between 0 and 3),
  key text,
  scheduled_at integer,
  event_id blob,
  job_id blob,
  outcome integer not null check (outcome between 0 and 4),
  reason text,
  detail text,
  jobs text not null,
  duration_us integer not null,
  depth integer not null,
  correlation_id blob not null,
  primary key (tenant_id, id)
) strict;
create unique index firing_once on firing (rule_id, tenant_id, key) where key is not null;
create index firing_rule on firing (rule_id, id);
create index firing_fired on firing (rule_id, tenant_id, id) where outcome = 0;
create index firing_cause on firing (tenant_id, correlation_id, id);
create index firing_at on firing (at);

-- An occurrence or an event for which a rule acts for many tenants; `after_tenant` is how far it got.
create table fan_out (
  id blob primary key,
  rule_tenant_id integer not null,
  rule_id blob not null,
  trigger_kind integer not null,
  key text,
  scheduled_at integer,
  event_id blob,
  job_id blob,
  at integer not null,
  depth integer not null,
  correlation_id blob not null,
  input text,
  after_tenant text,
  done integer not null default false,
  held_until integer not null
) strict;
create unique index fan_out_once on fan_out (rule_id, key) where key is not null;
create index fan_out_open on fan_out (id) where not done;
