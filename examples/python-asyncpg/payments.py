"""The payments service."""

from idempotent import idempotent


@idempotent("payments")
async def pay(connection, customer, request):
    payment = await connection.fetchrow(
        "INSERT INTO payments (customer, amount) VALUES ($1, $2) RETURNING *",
        customer, request["amount"],
    )
    return 201, dict(payment)
