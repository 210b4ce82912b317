"""A payments service for agents: an MCP server with one tool, over standard input and output."""

import json
import os
import sys

import psycopg

from pg_idempotency import Answer, Call
from pg_idempotency.psycopg import run

TOOL = {
    "name": "pay",
    "description": "Makes a payment, once for each idempotencyKey.",
    "inputSchema": {
        "type": "object",
        "properties": {
            "amount": {"type": "integer"},
            "idempotencyKey": {
                "type": "string",
                "description": "A UUID, one for each payment that is meant to be made. "
                "If the result of a call is not known, or is 409, call again with the same key and amount.",
            },
        },
        "required": ["amount", "idempotencyKey"],
    },
    "annotations": {"idempotentHint": True},
}


def pay(connection, customer, arguments):
    def work(connection):
        row = connection.execute(
            "INSERT INTO payments (customer, amount) VALUES (%s, %s) RETURNING id", [customer, arguments["amount"]]
        ).fetchone()
        return Answer(201, {"id": row[0], "customer": customer, "amount": arguments["amount"]})

    request = {name: value for name, value in arguments.items() if name != "idempotencyKey"}
    return run(connection, Call(arguments.get("idempotencyKey"), f"pay/{customer}", request), work)


def result_of(connection, customer, method, params):
    match method:
        case "initialize":
            return {
                "protocolVersion": "2025-06-18",
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "payments", "version": "1.0"},
            }
        case "tools/list":
            return {"tools": [TOOL]}
        case "tools/call" if params["name"] == TOOL["name"]:
            answer = pay(connection, customer, params["arguments"])
            said = {"status": answer.status, "payment" if answer.status < 400 else "problem": answer.body}
            return {
                "content": [{"type": "text", "text": json.dumps(said)}],
                "structuredContent": said,
                "isError": answer.status >= 400,
            }
        case "ping":
            return {}
    raise LookupError(f"no {method} here")


def respond(connection, customer, message):
    """The response to a message of JSON-RPC."""
    response = {"jsonrpc": "2.0", "id": message["id"]}
    try:
        return response | {"result": result_of(connection, customer, message["method"], message.get("params", {}))}
    except LookupError as error:
        return response | {"error": {"code": -32601, "message": str(error)}}
    except Exception as error:  # nothing was stored: the same call may be made again
        print(error, file=sys.stderr)
        return response | {"error": {"code": -32603, "message": "the service has failed"}}


def main():
    # The agent can't choose who pays.
    customer = os.environ["CUSTOMER"]
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        for line in sys.stdin:
            message = json.loads(line)
            if "id" in message:
                print(json.dumps(respond(connection, customer, message)), flush=True)


if __name__ == "__main__":
    main()
