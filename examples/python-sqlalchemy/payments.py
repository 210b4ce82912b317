"""The payments service."""

from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from idempotent import idempotent


class Base(DeclarativeBase):
    pass


class Payment(Base):
    __tablename__ = "payments"

    id: Mapped[int] = mapped_column(primary_key=True)
    customer: Mapped[str]
    amount: Mapped[int]


@idempotent("payments")
def pay(session, customer, request):
    payment = Payment(customer=customer, amount=request["amount"])
    session.add(payment)
    session.flush()
    return 201, {"id": payment.id, "customer": payment.customer, "amount": payment.amount}
