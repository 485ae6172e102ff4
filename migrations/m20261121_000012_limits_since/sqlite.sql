-- When a limit last changed, and since when a tenant is held: what closed the gate of a
-- job that waits for it. Null for what was set before.
alter table queue add column max_running_at integer;
alter table queue add column per_tenant_at integer;
alter table tenant add column max_running_at integer;
alter table tenant add column paused_at integer;
