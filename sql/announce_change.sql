-- What tells sessions of a changed policy works as a trigger alone.
SELECT idempotency.announce_change() IS NULL;
