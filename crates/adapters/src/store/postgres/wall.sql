-- The second wall between tenants: a role that reads on behalf of one tenant, and
-- policies that show it the rows of no other. Run after every migration, and
-- changes nothing where nothing is missing. Where the database's user may not
-- make roles, an administrator has to: see docs/security.md.
do $$
declare
    here text := current_schema();
    t    record;
begin
    if to_regrole('taskflow_request') is null then
        begin
            create role taskflow_request nologin;
        exception
            when duplicate_object or unique_violation then null;
            when insufficient_privilege then return;
        end;
    end if;
    if not pg_has_role(current_user, 'taskflow_request', 'member') then
        begin
            execute format('grant taskflow_request to %I', current_user);
        exception when others then return;
        end;
    end if;
    if not has_schema_privilege('taskflow_request', here, 'usage') then
        execute format('grant usage on schema %I to taskflow_request', here);
    end if;
    -- Names are no secret, and a job is not readable without them.
    for t in select * from (values ('worker'), ('queue'), ('kind')) names(name)
        where not has_column_privilege('taskflow_request', format('%I.%I', here, name), 'name', 'select')
    loop
        execute format('grant select (id, name) on %I.%I to taskflow_request', here, t.name);
    end loop;
    for t in
        select c.relname as name from pg_class c
        join pg_namespace n on n.oid = c.relnamespace
        join pg_attribute a on a.attrelid = c.oid
        where n.nspname = here and c.relkind in ('r', 'p') and not c.relrowsecurity
            and a.attname = 'tenant_id' and a.attnotnull and not a.attisdropped
    loop
        -- Looked up once for each statement; unset, it shows nothing.
        execute format(
            'create policy tenant_wall on %I.%I for select to taskflow_request using
                (tenant_id = (select nullif(current_setting(''taskflow.tenant_id'', true), '''')::int4))',
            here, t.name);
        execute format('grant select on %I.%I to taskflow_request', here, t.name);
        execute format('alter table %I.%I enable row level security', here, t.name);
    end loop;
end $$;
