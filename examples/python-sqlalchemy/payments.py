"""The payments service."""

from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from pg_idempotency import Answer, Call
from pg_idempotency.sqlalchemy import run


class Base(DeclarativeBase):
    pass


class Payment(Base):
    __tablename__ = "payments"

    id: Mapped[int] = mapped_column(primary_key=True)
    customer: Mapped[str]
    amount: Mapped[int]


def pay(sessions, key, customer, request):
    def work(session):
        payment = Payment(customer=customer, amount=request["amount"])
        session.add(payment)
        session.flush()
        return Answer(201, {"id": payment.id, "customer": payment.customer, "amount": payment.amount})

    return run(sessions, Call(key, f"payments/{customer}", request), work)
