"""Answer the requests of promises.pl, by calls of the tool."""

import json
import os
import sys

import psycopg

from payments import respond

# PgBouncer before 1.21 does not support prepared statements.
with psycopg.connect(os.environ["DATABASE_URL"], prepare_threshold=None) as connection:
    for line in sys.stdin:
        key, customer, amount = line.split()
        arguments = {"amount": int(amount), "idempotencyKey": key}
        message = {"id": 1, "method": "tools/call", "params": {"name": "pay", "arguments": arguments}}
        called = respond(connection, customer, message)["result"]["structuredContent"]
        print(called["status"], json.dumps(called.get("payment") or called["problem"]), flush=True)
