-- The rules of all tenants in the order of their making, page by page.
create index rule_line on rule (id) where deleted_at is null;
