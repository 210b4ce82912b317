-- The tables of the storm's clients.  A row of effect is an effect, like a payment
-- or a sent mail.  It has the number of its transaction in the history; a row with
-- a negative number was rolled back to a savepoint, and must never be seen.
CREATE EXTENSION idempotency;

-- The wheel begins with slots of a day; have it turned at once, to the tick that is
-- set.
UPDATE idempotency.wheel SET until = clock_timestamp();

CREATE SEQUENCE effect_id;
CREATE TABLE effect (
    id  bigint PRIMARY KEY DEFAULT nextval('effect_id'),
    key integer NOT NULL,
    tx  bigint NOT NULL
);

-- The order in which requests were answered.  A value is drawn after the answer is
-- known and before another session can see the state on which it was based.
CREATE SEQUENCE turn;

-- The name and the scope of a key's number.  Keys with the last digit 8 belong to a
-- tenant that is purged and erased meanwhile, one in ten of them to a scope below;
-- keys with 9 belong to its neighbor, which uses the same names.
CREATE FUNCTION name_of(key integer) RETURNS text IMMUTABLE LANGUAGE sql AS $$
    SELECT 'key-' || key - (key % 10 = 9 AND key < 1000000)::integer;
$$;
CREATE FUNCTION scope_of(key integer) RETURNS text IMMUTABLE LANGUAGE sql AS $$
    SELECT CASE WHEN key % 10 < 8 OR key >= 1000000 THEN 'storm'
                WHEN key % 10 = 9 THEN 'shop/42'
                WHEN key % 100 = 88 THEN 'shop/4/eu'
                ELSE 'shop/4' END;
$$;
CREATE FUNCTION key_of(name text, scope text) RETURNS integer IMMUTABLE LANGUAGE sql AS $$
    SELECT substr(name, 5)::integer + (scope = 'shop/42')::integer;
$$;

-- The trigger that is put on the tables for a moment, as pg_repack does.
CREATE FUNCTION fire() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE 'a foreign trigger has fired' USING ERRCODE = 'XX000';
END
$$;

-- The command of execute().
CREATE FUNCTION work(request jsonb) RETURNS jsonb LANGUAGE sql AS $$
    INSERT INTO effect (key, tx)
    VALUES ((request->>'key')::integer, current_setting('storm.tx')::bigint)
    RETURNING jsonb_build_object('id', id);
$$;
