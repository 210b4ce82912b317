"""Make payments through published libraries, as their documentation says.

    libraries.py [-c clients] [-t seconds] [-n rounds] CANDIDATE...
    libraries.py -k KEY [-s STEP -x COMMAND] CANDIDATE

Options and output are those of pay.c, as far as they apply: the candidates take
turns, and a line is printed for each time slice. A client in Python does less in
the same time than one in C: compare a library with the bare payment through the
same driver, which is one of the candidates.

    bare, extension             psycopg
    powertools                  psycopg; keys in Redis, by aws-lambda-powertools
    sqlalchemy                  the bare payment, by SQLAlchemy
    dbos                        SQLAlchemy; keys in PostgreSQL, by dbos

Steps: 1 before the library is called, 2 before the payment is committed, 3 after
its commit, 4 when the library has returned.
"""

import argparse
import logging
import os
import subprocess
import sys
import threading
import time
import uuid
import warnings

# powertools warns about another name of CachePersistenceLayer.
warnings.filterwarnings("ignore", category=DeprecationWarning)

PAYMENT = (
    "INSERT INTO payments (reference, account, amount) VALUES (%s, 42, 19.90)"
    " RETURNING answer(payments)"
)
PAYMENT_SQLALCHEMY = (
    "INSERT INTO payments (reference, account, amount) VALUES (:key, 42, 19.90)"
    " RETURNING answer(payments)"
)
URL = "postgresql+psycopg:///{PGDATABASE}?host={PGHOST}&user={PGUSER}".format(**os.environ)

parser = argparse.ArgumentParser()
parser.add_argument("-c", dest="clients", type=int, default=1)
parser.add_argument("-t", dest="seconds", type=float, default=1)
parser.add_argument("-n", dest="rounds", type=int, default=3)
parser.add_argument("-k", dest="key")
parser.add_argument("-s", dest="step", type=int)
parser.add_argument("-x", dest="command")
parser.add_argument("-r", dest="redis")
parser.add_argument("candidates", nargs="+")
arguments = parser.parse_args()


def step(number):
    if arguments.step == number:
        subprocess.run(arguments.command, shell=True, check=False)


local = threading.local()


def connection():
    import psycopg

    if not hasattr(local, "connection"):
        local.connection = psycopg.connect("", prepare_threshold=0)
    return local.connection


def pay_by_psycopg(key):
    with connection().transaction():
        body = connection().execute(PAYMENT, (key,)).fetchone()[0]
        step(2)
    step(3)
    return body


def bare():
    return pay_by_psycopg


def extension():
    def pay(key):
        request = '{"reference": "%s", "account": 42, "amount": 19.90}' % key
        with connection().transaction():
            status = connection().execute("SELECT status, body FROM extension(%s, %s)", (key, request)).fetchone()[0]
            step(2)
        step(3)
        return status

    return pay


def powertools():
    import redis
    from aws_lambda_powertools.utilities.idempotency import IdempotencyConfig, idempotent_function
    from aws_lambda_powertools.utilities.idempotency.persistence.cache import CachePersistenceLayer

    class Context:
        """The context that the platform passes to a function: it may run for one second."""

        @staticmethod
        def get_remaining_time_in_millis():
            return 1000

    layer = CachePersistenceLayer(client=redis.Redis(unix_socket_path=arguments.redis, decode_responses=True))
    config = IdempotencyConfig(lambda_context=Context())

    @idempotent_function(data_keyword_argument="payment", config=config, persistence_store=layer)
    def pay_function(payment):
        return pay_by_psycopg(payment["reference"])

    return lambda key: pay_function(payment={"reference": key, "account": 42, "amount": 19.90})


def sqlalchemy():
    from sqlalchemy import create_engine, text

    engine = create_engine(URL, pool_size=arguments.clients)
    statement = text(PAYMENT_SQLALCHEMY)

    def pay(key):
        with engine.begin() as session:
            return session.execute(statement, {"key": key}).scalar_one()

    return pay


def dbos():
    from dbos import DBOS, SetWorkflowID, SQLAlchemyDatasource
    from sqlalchemy import text

    logging.getLogger("dbos").setLevel(logging.ERROR)
    DBOS(config={"name": "payments", "system_database_url": URL, "log_level": "ERROR",
                 "sys_db_pool_size": max(arguments.clients, 2), "application_version": "1", "executor_id": "local"})
    source = SQLAlchemyDatasource.create(URL, engine_kwargs={"pool_size": arguments.clients})
    statement = text(PAYMENT_SQLALCHEMY)

    @source.transaction(isolation_level="READ COMMITTED")
    def make_payment(key):
        body = source.sql_session().execute(statement, {"key": key}).scalar_one()
        step(2)
        return body

    @DBOS.workflow()
    def pay_workflow(key):
        body = make_payment(key)
        step(3)
        return body

    DBOS.launch()

    def pay(key):
        with SetWorkflowID(key):
            return pay_workflow(key)

    return pay


KNOWN = {"bare": bare, "extension": extension, "powertools": powertools, "sqlalchemy": sqlalchemy, "dbos": dbos}


def run_slice(pay, seconds):
    """Let all clients pay for so many seconds. Returns the latencies, in microseconds."""
    latencies = []
    failed = []
    end = time.monotonic() + seconds
    ready = threading.Barrier(arguments.clients)

    def client(number):
        mine = []
        ready.wait()
        while (start := time.monotonic()) < end:
            try:
                pay(str(uuid.uuid4()))
            except Exception as error:  # counted, and the last one shown
                failed.append(error)
            mine.append((time.monotonic() - start) * 1e6)
        latencies.extend(mine)

    threads = [threading.Thread(target=client, args=(n,)) for n in range(arguments.clients)]
    start = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        print(f"libraries.py: {failed[-1]!r}", file=sys.stderr)
    return sorted(latencies), len(failed), time.monotonic() - start


def main():
    ways = {name: KNOWN[name]() for name in arguments.candidates}
    if arguments.key:
        step(1)
        try:
            ways[arguments.candidates[0]](arguments.key)
            status = 201
        except Exception:
            status = 500
        step(4)
        print(status, flush=True)
    else:
        for round_number in range(arguments.rounds + 1):
            for name, pay in ways.items():
                latencies, failed, taken = run_slice(pay, arguments.seconds)
                if round_number > 0:
                    count = len(latencies)
                    print(name, round_number, arguments.clients, f"{taken:.6f}", count, 0, failed,
                          int(latencies[count // 2]), int(latencies[count * 99 // 100]), 0, 0, sep="\t", flush=True)
    # Do not wait for the libraries' background threads.
    os._exit(0)


main()
