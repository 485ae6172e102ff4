-- Here a row is replaced by an update, and no trigger lets one through.
select 1;
