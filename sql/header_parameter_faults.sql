-- A parameter that is not a valid date or display string is a fault at the
-- position at which it becomes invalid.
SELECT idempotency.parse_header('"k";v=@today');
SELECT idempotency.parse_header('"k";v=@-');
SELECT idempotency.parse_header('"k";v=%name');
SELECT idempotency.parse_header('"k";v=%');
