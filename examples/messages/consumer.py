"""Consume a Redis stream that delivers at least once into a table, exactly once.

    consumer.py NAME

The rows of a batch and the marks of its messages commit together, and only then
is the batch acknowledged.  If this process dies, a new one of the same NAME gets
the unacknowledged messages again, and the marks leave out those that have been
committed.  They also leave out messages that the producer sent twice.
"""

import os
import sys

import psycopg
import redis

STREAM, GROUP = "payments", "ledger"

INSERT = """
    INSERT INTO payments (customer, amount)
    SELECT customer, amount
    FROM unnest(%s::text[], %s::text[], %s::integer[]) AS message (id, customer, amount)
    WHERE idempotency.once(id, 'ledger')
"""


def consume(queue, db, name):
    # First the messages that a process of this name got and did not acknowledge,
    # then new ones.
    start = "0"
    while True:
        delivered = queue.xreadgroup(GROUP, name, {STREAM: start}, count=100, block=1000)
        batch = delivered[0][1] if delivered else []
        if not batch:
            start = ">"
            continue

        # In one order everywhere, so that two consumers don't wait for each other.
        messages = sorted((m["id"], m["customer"], int(m["amount"])) for _, m in batch)
        with db.transaction():
            db.execute(INSERT, [list(column) for column in zip(*messages)])
        queue.xack(STREAM, GROUP, *[position for position, _ in batch])


if __name__ == "__main__":
    # PgBouncer before 1.21 does not support prepared statements.
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True, prepare_threshold=None) as db:
        consume(redis.Redis(unix_socket_path=os.environ["REDIS_SOCKET"], decode_responses=True, protocol=2), db, sys.argv[1])
