-- The occurrence of a rule that acts for many tenants which waits for the end of a
-- tenant's previous instance: one for each tenant.
create table rule_wait (
  rule_tenant_id integer not null,
  rule_id        blob    not null,
  tenant_id      integer not null,
  at             integer not null,
  primary key (rule_id, tenant_id)
) strict, without rowid;
create index fan_out_turn on fan_out (rule_id, id) where not done and scheduled_at is not null;
