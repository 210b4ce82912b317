-- What the storm's clients write to.  A row is an effect: a payment made, a
-- mail sent.  It names the transaction of the history that made it; a negative
-- one was rolled back to a savepoint, and must never be seen.
CREATE EXTENSION idempotency;

-- The wheel begins with slots of a day; let it be turned at once, to ranges of
-- the tick that is set.
UPDATE idempotency.wheel SET until = clock_timestamp();

CREATE SEQUENCE effect_id;
CREATE TABLE effect (
    id  bigint PRIMARY KEY DEFAULT nextval('effect_id'),
    key integer NOT NULL,
    tx  bigint NOT NULL
);

-- The order in which requests were answered.  A value is drawn after the
-- answer is known and before anybody else can see what it was based on.
CREATE SEQUENCE turn;

-- The command of execute().
CREATE FUNCTION work(request jsonb) RETURNS jsonb LANGUAGE sql AS $$
    INSERT INTO effect (key, tx)
    VALUES ((request->>'key')::integer, current_setting('storm.tx')::bigint)
    RETURNING jsonb_build_object('id', id);
$$;
