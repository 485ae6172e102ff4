alter table tenant
    add column request_limit     integer check (request_limit > 0),
    add column request_period_ms integer check (request_period_ms > 0),
    add column suspended         boolean not null default false,
    add check ((request_limit is null) = (request_period_ms is null)),
    add check (paused or not suspended);

-- A suspended tenant may have no job waiting.
drop index tenant_backlog;
create index tenant_backlog on tenant (id) where max_backlog is not null or suspended;

-- Looked up by id before the tenant is known, and null for an operator's: so the
-- tenant is not part of the key.
create table api_key (
    id             uuid     primary key,
    name           text     not null,
    tenant_id      integer,
    scopes         smallint not null check (scopes between 1 and 63),
    digest         bytea    not null check (length(digest) = 32),
    rate_limit     integer  check (rate_limit > 0),
    rate_period_ms integer  check (rate_period_ms > 0),
    created_at     bigint   not null,
    created_by     text     not null,
    expires_at     bigint,
    revoked_at     bigint,
    last_used_at   bigint,
    check ((rate_limit is null) = (rate_period_ms is null)),
    check (tenant_id is null or scopes < 32)
) with (fillfactor = 70);
create index api_key_tenant on api_key (tenant_id, id) where tenant_id is not null;

create table audit (
    seq        bigint primary key check (seq > 0),
    at         bigint not null,
    actor      text   not null,
    tenant     text,
    action     text   not null,
    object     text   not null,
    reason     text,
    was        text,
    became     text,
    request_id text   not null,
    prev_hash  bytea  not null check (length(prev_hash) = 32),
    hash       bytea  not null check (length(hash) = 32)
);

-- Where the chain ends. Whoever adds to it holds this row.
create table audit_head (
    one  boolean primary key default true check (one),
    seq  bigint  not null,
    hash bytea   not null
);
insert into audit_head (seq, hash) values (0, decode(repeat('00', 32), 'hex'));

create function audit_is_append_only() returns trigger language plpgsql as $$
begin
    raise exception 'the audit is append-only' using errcode = 'insufficient_privilege';
end $$;
create trigger audit_row before update or delete on audit
    for each row execute function audit_is_append_only();
create trigger audit_all before truncate on audit
    for each statement execute function audit_is_append_only();
create trigger audit_end before delete on audit_head
    for each row execute function audit_is_append_only();
