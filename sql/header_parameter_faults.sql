-- A parameter that is no date, or no display string, is a fault at the place
-- where it ceases to be one.
SELECT idempotency.parse_header('"k";v=@today');
SELECT idempotency.parse_header('"k";v=@-');
SELECT idempotency.parse_header('"k";v=%name');
SELECT idempotency.parse_header('"k";v=%');
