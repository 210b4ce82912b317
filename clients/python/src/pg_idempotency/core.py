"""The base of the adapters: requests, answers, and the SQL statements.

No driver and no framework is imported here.  An adapter of a driver opens a
transaction, calls once() in it with a function that executes a statement, and
returns the answer when the transaction has committed.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

CLAIM = """
SELECT given AS key, outcome, status_code, CAST(response AS text) AS response,
       CAST(ceil(extract(epoch FROM retry_after)) AS bigint) AS retry_after
FROM coalesce(CAST({key} AS text), idempotency.parse_header(CAST({header} AS text))) AS given,
     idempotency.claim(
         key => given,
         scope => CAST({scope} AS text),
         request => CASE WHEN CAST({body} AS text) IS NULL THEN CAST(CAST({request} AS text) AS jsonb)
             ELSE CAST(CAST({request} AS text) AS jsonb)
                 || jsonb_build_object('body', CAST(CAST({body} AS text) AS jsonb)) END,
         ttl => CAST(CAST({ttl} AS text) AS interval),
         wait => CAST(CAST({wait} AS text) AS interval))
"""
COMPLETE = """
SELECT idempotency.complete(
    key => CAST({key} AS text),
    scope => CAST({scope} AS text),
    response => CAST(CAST({response} AS text) AS jsonb),
    resource_id => CAST({resource_id} AS text),
    status_code => CAST({status} AS integer))
"""
FAIL = COMPLETE.replace("idempotency.complete", "idempotency.fail")
# In the order of Call.parameters() and Call.result().
CLAIM_PARAMETERS = ("key", "header", "scope", "request", "body", "ttl", "wait")
RESULT_PARAMETERS = ("key", "scope", "response", "resource_id", "status")

# The extension's codes that are for the client; all others are faults of the
# service.
FOR_THE_CLIENT = {"400", "409", "412", "413", "422"}
# SQLSTATEs for JSON that jsonb can't hold: malformed, \u0000 and lone surrogates,
# numbers too large, bytes that are not text, too long, too deep.
NOT_FOR_JSONB = {"22P02", "22P05", "22003", "22021", "54000", "54001"}
# The transaction has failed, or has been rolled back.
NO_CLAIM_LEFT = {"25P02", "IK404", "PT404"}


def statements(mark: Callable[[str, int], str]) -> dict[str, str]:
    """The statements by name; mark(name, number) returns a parameter in the driver's notation."""
    claim = {name: mark(name, i) for i, name in enumerate(CLAIM_PARAMETERS, 1)}
    result = {name: mark(name, i) for i, name in enumerate(RESULT_PARAMETERS, 1)}
    return {"claim": CLAIM.format(**claim), "complete": COMPLETE.format(**result), "fail": FAIL.format(**result)}


@dataclass(frozen=True)
class Answer:
    """The answer to a request.  The body is a JSON value, or bytes if it is HTTP's."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    replayed: bool = False
    # The framework's response that the answer was made from, with its cookies.
    response: Any = field(default=None, compare=False, repr=False)

    @property
    def failed(self) -> bool:
        return self.status >= 400

    @property
    def content(self) -> bytes:
        if self.body is None:
            return b""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()

    def to_response(self, make: Callable[[bytes, int, dict[str, str]], Any]) -> Any:
        """The framework's response, made from content, status and headers if this is a stored answer."""
        return make(self.content, self.status, dict(self.headers)) if self.response is None else self.response


class Undone(Exception):
    """Rolls the transaction back; the client gets the answer."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


class Abort(Undone):
    """The work raises it to be rolled back; the answer is stored if it is under 500."""


def problem(status: int, title: str, detail: str | None = None, retry_after: int | None = None) -> Answer:
    """An RFC 9457 problem document."""
    body = {"type": "about:blank", "title": title, "status": status}
    headers = {"Content-Type": "application/problem+json"}
    if detail:
        body["detail"] = detail
    if retry_after is not None:
        headers["Retry-After"] = str(retry_after)
    return Answer(status, body, headers)


@dataclass(frozen=True)
class Call:
    """A request: its key, the scope in which the key is unique, and its payload."""

    key: str | None
    scope: str
    request: Any = None
    ttl: timedelta | None = None
    wait: timedelta | None = None

    def parameters(self) -> dict[str, Any]:
        request = None if self.request is None else json.dumps(self.request)
        return {
            "key": self.key or "", "header": None, "scope": self.scope, "request": request, "body": None,
            "ttl": interval(self.ttl), "wait": interval(self.wait),
        }  # fmt: skip

    def judge(self, row: Mapping[str, Any]) -> Answer | None:
        """The answer if there is one already; None if the work is to be done."""
        status = row["status_code"]
        match row["outcome"]:
            case "new":
                return None
            case "replay":
                return self.restored(status, None if row["response"] is None else json.loads(row["response"]))
            case "in_progress":
                title = "A request with this idempotency key is in progress"
                return problem(status, title, "Send it again later.", row["retry_after"])
            case "mismatch":
                title = "The idempotency key was used for another request"
                return problem(status, title, "Make a new key for a new request.")
            case "expired":
                return problem(status, "The request is too old to be sent again", "It may have run: find out before you send it with a new key.")
            case outcome:
                # "recovered": another program claims with leases in this scope,
                # and its work is not known here.
                raise RuntimeError(f"claim() gives {outcome} in scope {self.scope}, whose work is one transaction")

    def settle(self, answer: Answer) -> Answer:
        """An answer that may be stored; one of 500 and above undoes the work."""
        if answer.status >= 500:
            raise Undone(answer)
        return answer

    def result(self, key: str, answer: Answer) -> dict[str, Any]:
        created = self.body(answer)
        identity = created.get("id") if isinstance(created, dict) else None
        return {
            "key": key, "scope": self.scope, "response": json.dumps(self.stored(answer)),
            "resource_id": None if identity is None else str(identity), "status": answer.status,
        }  # fmt: skip

    def body(self, answer: Answer) -> Any:
        return answer.body

    def stored(self, answer: Answer) -> Any:
        return answer.body

    def restored(self, status: int, response: Any) -> Answer:
        return Answer(status, response, replayed=True)


def interval(time: timedelta | None) -> str | None:
    return None if time is None else f"{time.total_seconds():.6f} s"


@contextmanager
def refusals(answer: Answer | None = None) -> Iterator[None]:
    """Wraps a statement of this library: an error that the client has caused is answered.

    If the statement is FINISH, with the work's answer: work that catches an error
    of the database, or rolls back, leaves no transaction to store its answer in.  A
    refusal is then stored without the work; for any other answer the error is
    raised.
    """
    try:
        yield
    except Exception as error:
        if answer is not None and answer.failed and sqlstate(database_error(error)) in NO_CLAIM_LEFT:
            raise Abort(answer) from error
        refused = refusal(error, finishing=answer is not None)
        if refused is None:
            raise
        raise Undone(refused) from error


def refusal(error: Exception, finishing: bool) -> Answer | None:
    """The answer to a client that has caused an error of the database, else None.

    The client has sent the arguments of the claim, but not the work's answer, for
    which it can only get the error that it is too large.
    """
    cause: Any = database_error(error)
    if cause is None:
        return None
    code = sqlstate(cause)
    if code in NOT_FOR_JSONB and not finishing:
        return problem(400, "The body can't be stored as JSON", "It is malformed, or contains what jsonb can't hold.")
    if code[:2] in ("IK", "PT") and code[2:] in ({"413"} if finishing else FOR_THE_CLIENT):
        told = getattr(cause, "diag", None)
        title = told.message_primary if told else getattr(cause, "message", None) or str(cause)
        detail = told.message_hint if told else getattr(cause, "hint", None)
        return problem(int(code[2:]), title, detail, 1 if code[2:] == "409" else None)
    return None


def database_error(error: BaseException | None) -> BaseException | None:
    """The driver's own error, the innermost: SQLAlchemy and Django wrap it, once or twice."""
    found = None
    while error is not None:
        found = error if sqlstate(error) else found
        error = getattr(error, "orig", None) or error.__cause__
    return found


def sqlstate(error: BaseException | None) -> str:
    return getattr(error, "sqlstate", None) or getattr(error, "pgcode", None) or ""


def once(execute: Callable[[str, dict[str, Any]], Any], call: Call, work: Callable[[], Answer]) -> Answer:
    """Claim, work and result, in a transaction that the caller begins and commits.

    execute(name, parameters) executes one of the statements() and returns its row.
    """
    with refusals():
        row = execute("claim", call.parameters())
    answer = call.judge(row)
    if answer is None:
        answer = call.settle(work())
        with refusals(answer):
            execute("fail" if answer.failed else "complete", call.result(row["key"], answer))
    return answer


async def once_async(
    execute: Callable[[str, dict[str, Any]], Awaitable[Any]], call: Call, work: Callable[[], Awaitable[Answer]]
) -> Answer:
    with refusals():
        row = await execute("claim", call.parameters())
    answer = call.judge(row)
    if answer is None:
        answer = call.settle(await work())
        with refusals(answer):
            await execute("fail" if answer.failed else "complete", call.result(row["key"], answer))
    return answer


def run_to_an_answer(attempt: Callable[[Any], Answer], work: Callable[[Any], Answer]) -> Answer:
    """Run an attempt, which is a transaction, until there is an answer.

    The answer of an Abort is stored by a second attempt.  Between the two the key is
    free: if another request claims it, that one does the work, and the second
    attempt returns its answer; nothing has been sent before.
    """
    tries = 0
    while True:
        try:
            return attempt(work)
        except Undone as undone:
            answer = undone.answer
            if not isinstance(undone, Abort) or answer.status >= 500:
                return answer

            def work(_: Any, answer: Answer = answer) -> Answer:
                return answer

        except Exception as error:
            tries += 1
            if not may_run_again(error, tries):
                raise


async def run_to_an_answer_async(
    attempt: Callable[[Any], Awaitable[Answer]], work: Callable[[Any], Awaitable[Answer]]
) -> Answer:
    """The same as run_to_an_answer()."""
    tries = 0
    while True:
        try:
            return await attempt(work)
        except Undone as undone:
            answer = undone.answer
            if not isinstance(undone, Abort) or answer.status >= 500:
                return answer

            async def work(_: Any, answer: Answer = answer) -> Answer:
                return answer

        except Exception as error:
            tries += 1
            if not may_run_again(error, tries):
                raise


def may_run_again(error: Exception, tries: int) -> bool:
    """Whether a transaction failed only because of another one, and may be run again."""
    cause = database_error(error)
    return tries < 3 and cause is not None and sqlstate(cause) in ("40001", "40P01")
