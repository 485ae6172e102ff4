alter table tenant add column request_limit integer check (request_limit > 0);
alter table tenant add column request_period_ms integer check (request_period_ms > 0);
alter table tenant add column suspended integer not null default 0 check (suspended in (0, 1));

-- Looked up by id before the tenant is known, and null for an operator's: so the
-- tenant is not part of the key.
create table api_key (
  id blob not null primary key check (length(id) = 16),
  name text not null,
  tenant_id integer,
  scopes integer not null check (scopes between 1 and 63),
  digest blob not null check (length(digest) = 32),
  rate_limit integer check (rate_limit > 0),
  rate_period_ms integer check (rate_period_ms > 0),
  created_at integer not null,
  created_by text not null,
  expires_at integer,
  revoked_at integer,
  last_used_at integer,
  check ((rate_limit is null) = (rate_period_ms is null)),
  check (tenant_id is null or scopes < 32)
) strict, without rowid;
create index api_key_tenant on api_key (tenant_id, id) where tenant_id is not null;

create table audit (
  seq integer primary key check (seq > 0),
  at integer not null,
  actor text not null,
  tenant text,
  action text not null,
  object text not null,
  reason text,
  was text,
  became text,
  request_id text not null,
  prev_hash blob not null check (length(prev_hash) = 32),
  hash blob not null check (length(hash) = 32)
) strict;

-- Where the chain ends.
create table audit_head (
  one integer primary key check (one = 1),
  seq integer not null,
  hash blob not null
) strict;
insert into audit_head (one, seq, hash) values (1, 0, zeroblob(32));

create trigger audit_kept before update on audit begin select raise(abort, 'the audit is append-only'); end;
create trigger audit_whole before delete on audit begin select raise(abort, 'the audit is append-only'); end;
create trigger audit_end before delete on audit_head begin select raise(abort, 'the audit is append-only'); end;
