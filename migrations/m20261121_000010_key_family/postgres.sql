-- Of which key a key came by rotation, so that never three of them are good at once.
-- Those from before are of no family but their own: null is that, too.
alter table api_key add column family uuid;
create index api_key_family on api_key (family) where family is not null;
