-- A queue that drains takes no new jobs. Null where it does not.
alter table queue add column drained_at integer;
alter table queue add column drain_actor text;
alter table queue add column drain_reason text;
create index queue_drained on queue (id) where drained_at is not null;

-- Lanes with due jobs that claims pass by: what explains a queue looks at them only.
create index lane_held on lane (queue_id, id) where active = 1 and (blocked = 1 or paused = 1);

-- What happened in a minute (span 60) and in an hour (span 3600), each counted by whoever did it.
create table stat (
    span      integer not null check (span in (60, 3600)),
    at        integer not null,
    queue_id  integer not null,
    tenant_id integer not null,
    kind_id   integer not null,
    created   integer not null,
    started   integer not null,
    succeeded integer not null,
    failed    integer not null,
    dead      integer not null,
    cancelled integer not null,
    retried   integer not null,
    wait_us   integer not null,
    run_us    integer not null,
    primary key (span, at, queue_id, tenant_id, kind_id)
) strict;

-- How long starts of a minute waited (measure 0) and attempts of it ran (1), by bin.
create table stat_spread (
    at       integer  not null,
    queue_id integer  not null,
    measure  integer not null check (measure in (0, 1)),
    bin      integer not null,
    n        integer  not null,
    primary key (at, queue_id, measure, bin)
) strict;

-- The processes with loops, each with what its loops did last, as JSON.
create table runner (
    name       text   not null primary key,
    started_at integer not null,
    seen_at    integer not null,
    loops      text   not null
) strict;
