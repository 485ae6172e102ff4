-- The key of secrets of an installation that was given none: made here, once, by
-- whichever process comes first. Nobody but the owner is granted a look.
create table sealing_key (
    one     boolean primary key default true check (one),
    key     bytea  not null check (length(key) = 32),
    made_at bigint not null
);
revoke all on sealing_key from public;
