"""Answer the requests of promises.pl."""

import asyncio
import json
import os
import sys

import asyncpg

from payments import pay


async def main():
    # PgBouncer before 1.21 does not support prepared statements.
    pool = await asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=1, max_size=2, statement_cache_size=0)
    for line in sys.stdin:
        key, customer, amount = line.split()
        answer = await pay(pool, key, customer, {"amount": int(amount)})
        print(answer.status, json.dumps(answer.body), flush=True)
    await pool.close()


asyncio.run(main())
