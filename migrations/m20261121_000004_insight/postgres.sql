-- A queue that drains takes no new jobs. Null where it does not.
alter table queue add column drained_at bigint, add column drain_actor text, add column drain_reason text,
    add check ((drained_at is null) = (drain_actor is null));
create index queue_drained on queue (id) where drained_at is not null;

-- Lanes with due jobs that claims pass by: what explains a queue looks at them only.
create index lane_held on lane (queue_id, id) where active and (blocked or paused);

-- What happened in a minute (span 60) and in an hour (span 3600), each counted by whoever did it.
create table stat (
    span      integer not null check (span in (60, 3600)),
    at        bigint  not null,
    queue_id  integer not null,
    tenant_id integer not null,
    kind_id   integer not null,
    created   bigint  not null,
    started   bigint  not null,
    succeeded bigint  not null,
    failed    bigint  not null,
    dead      bigint  not null,
    cancelled bigint  not null,
    retried   bigint  not null,
    wait_us   bigint  not null,
    run_us    bigint  not null,
    primary key (span, at, queue_id, tenant_id, kind_id)
) with (fillfactor = 70);

-- How long starts of a minute waited (measure 0) and attempts of it ran (1), by bin.
create table stat_spread (
    at       bigint   not null,
    queue_id integer  not null,
    measure  smallint not null check (measure in (0, 1)),
    bin      smallint not null,
    n        bigint   not null,
    primary key (at, queue_id, measure, bin)
) with (fillfactor = 70);

-- The processes with loops, each with what its loops did last, as JSON.
create table runner (
    name       text   not null primary key,
    started_at bigint not null,
    seen_at    bigint not null,
    loops      text   not null
) with (fillfactor = 50);
