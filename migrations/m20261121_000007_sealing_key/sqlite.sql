-- The key of secrets of a database in memory, which no file can lie beside.
create table sealing_key (
  one     integer primary key default 1 check (one = 1),
  key     blob    not null check (length(key) = 32),
  made_at integer not null
) strict;
