"""Answer the requests of promises.pl."""

import json
import os
import sys

from sqlalchemy import create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import sessionmaker

from idempotent import status_of
from payments import pay

# PgBouncer before 1.21 knows nothing of prepared statements.
engine = create_engine(
    os.environ["DATABASE_URL"].replace("postgresql:", "postgresql+psycopg:"),
    connect_args={"prepare_threshold": None},
)
sessions = sessionmaker(engine)
for line in sys.stdin:
    key, customer, amount = line.split()
    try:
        status, body = pay(sessions, key, customer, {"amount": int(amount)})
    except DBAPIError as error:
        status, body = status_of(error), {"title": error.orig.diag.message_primary}
    print(status, json.dumps(body), flush=True)
