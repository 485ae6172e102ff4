-- A file serves one process, which counts requests by itself.
select 1;
