-- Triggers made by hand without a scope find a row that moves to another
-- partition as those of guard_table() do, if the one for DELETE names the same
-- column, and also where it does not.
CREATE SCHEMA guard_by_hand;
SET search_path = guard_by_hand;
CREATE TABLE orders (id integer, region text, key text, voucher text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE orders_north PARTITION OF orders FOR VALUES IN ('north');
CREATE TABLE orders_south PARTITION OF orders FOR VALUES IN ('south');
CREATE TRIGGER zz_claim BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION idempotency.guard('key');
CREATE TRIGGER zz_complete AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION idempotency.guard('key');
CREATE TRIGGER zz_moves BEFORE DELETE ON orders FOR EACH ROW EXECUTE FUNCTION idempotency.guard('key');
INSERT INTO orders VALUES (1, 'north', 'a', 'x'), (2, 'north', 'a', 'x');
SELECT tableoid::regclass, id FROM orders;
UPDATE orders SET region = 'south';
SELECT tableoid::regclass, id FROM orders;

DROP TRIGGER zz_moves ON orders;
CREATE TRIGGER zz_moves BEFORE DELETE ON orders FOR EACH ROW EXECUTE FUNCTION idempotency.guard('voucher');
UPDATE orders SET region = 'north';
SELECT tableoid::regclass, id FROM orders;
SELECT scope, key FROM idempotency.keys WHERE scope LIKE 'guard_by_hand%';

SET client_min_messages = warning;
DROP SCHEMA guard_by_hand CASCADE;
