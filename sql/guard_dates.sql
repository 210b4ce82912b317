-- Rows with dates, enumerations and arrays are the same rows whatever the
-- settings of the session, as keys and in between.
CREATE SCHEMA guard_dates;
SET search_path = guard_dates;
CREATE TYPE size AS ENUM ('small', 'large');
CREATE TABLE bookings (
	id    integer PRIMARY KEY,
	key   date,
	start timestamp,
	days  date[],
	wants size
);
SELECT idempotency.guard_table('bookings', 'key');
SET DateStyle = 'ISO, MDY';
INSERT INTO bookings VALUES (1, '2026-03-04', '2026-03-04 12:00', ARRAY[DATE '2026-03-04'], 'small');
SET DateStyle = 'German, DMY';
INSERT INTO bookings VALUES (2, '2026-03-04', '2026-03-04 12:00', ARRAY[DATE '2026-03-04'], 'small');
INSERT INTO bookings VALUES (3, '2026-03-04', '2026-03-04 12:00', ARRAY[DATE '2026-03-05'], 'small');
\echo :LAST_ERROR_SQLSTATE
RESET DateStyle;
INSERT INTO bookings VALUES (4, '2026-03-04', '2026-03-04 12:00', ARRAY[DATE '2026-03-04'], 'large');
\echo :LAST_ERROR_SQLSTATE
SELECT count(*) FROM bookings;
SELECT key FROM idempotency.keys WHERE scope = 'guard_dates.bookings';

-- An enumeration as the key.
CREATE TABLE seats (id integer PRIMARY KEY, key size);
SELECT idempotency.guard_table('seats', 'key');
INSERT INTO seats VALUES (1, 'small'), (2, 'large'), (3, 'small');
SELECT key FROM idempotency.keys WHERE scope = 'guard_dates.seats' ORDER BY key;

SET client_min_messages = warning;
DROP SCHEMA guard_dates CASCADE;
