"""Answer the requests of promises.pl."""

import json
import os
import sys

from sqlalchemy import create_engine
from sqlalchemy.orm import sessionmaker

from payments import pay

# PgBouncer before 1.21 does not support prepared statements.
engine = create_engine(
    os.environ["DATABASE_URL"].replace("postgresql:", "postgresql+psycopg:"),
    connect_args={"prepare_threshold": None},
)
sessions = sessionmaker(engine)
for line in sys.stdin:
    key, customer, amount = line.split()
    answer = pay(sessions, key, customer, {"amount": int(amount)})
    print(answer.status, json.dumps(answer.body), flush=True)
