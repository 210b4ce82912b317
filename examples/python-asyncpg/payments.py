"""The payments service."""

from pg_idempotency import Answer, Call
from pg_idempotency.asyncpg import run


async def pay(pool, key, customer, request):
    async def work(connection):
        payment = await connection.fetchrow(
            "INSERT INTO payments (customer, amount) VALUES ($1, $2) RETURNING *", customer, request["amount"]
        )
        return Answer(201, dict(payment))

    return await run(pool, Call(key, f"payments/{customer}", request), work)
