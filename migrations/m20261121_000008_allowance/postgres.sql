-- What was drawn from the request rates of tenants and keys, by all processes. What
-- a crash of the server forgets is one burst for each.
create unlogged table allowance (
    whose   text   primary key,
    paid_at bigint not null,
    drawn   bigint not null
) with (fillfactor = 50);
