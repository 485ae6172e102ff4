-- `insert or replace` deletes what it replaces without asking the triggers that guard
-- deletes, so a row whose place is taken is refused before it comes to that.
create trigger audit_once before insert on audit
when exists (select 1 from audit where seq = new.seq)
begin select raise(abort, 'the audit is append-only'); end;
create trigger audit_one_end before insert on audit_head
when exists (select 1 from audit_head)
begin select raise(abort, 'the audit is append-only'); end;
