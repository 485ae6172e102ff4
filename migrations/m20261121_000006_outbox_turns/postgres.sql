-- Tenants take turns at the outbox: whose entries there are is found along this.
create index event_pending_tenant on event_pending (tenant_id, id);
