-- The function that announces a changed policy to sessions works only as a
-- trigger.
SELECT idempotency.announce_change() IS NULL;
