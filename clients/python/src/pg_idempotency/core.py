"""What the adapters share: requests, answers, and the statements between them.

No driver and no framework is imported here.  An adapter of a driver opens a
transaction, calls once() in it with a function that executes a statement, and
hands the answer out when the transaction has committed.
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

# The codes of the extension that are for the client; all others are the
# service's own fault.
FOR_THE_CLIENT = {"400", "409", "412", "413", "422"}
# What PostgreSQL says of JSON that jsonb can't hold: malformed, \u0000 and lone
# surrogates, numbers too large, bytes that are no text, too long, too deep.
NOT_FOR_JSONB = {"22P02", "22P05", "22003", "22021", "54000", "54001"}
# The transaction has failed, or has been rolled back.
NO_CLAIM_LEFT = {"25P02", "IK404", "PT404"}


def statements(mark: Callable[[str, int], str]) -> dict[str, str]:
    """The statements by name; mark(name, number) is a parameter as the driver writes it."""
    claim = {name: mark(name, i) for i, name in enumerate(CLAIM_PARAMETERS, 1)}
    result = {name: mark(name, i) for i, name in enumerate(RESULT_PARAMETERS, 1)}
    return {"claim": CLAIM.format(**claim), "complete": COMPLETE.format(**result), "fail": FAIL.format(**result)}


@dataclass(frozen=True)
class Answer:
    """What a request came to.  The body is a JSON value, or bytes where it is HTTP's."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    replayed: bool = False
    # The response of a framework that the answer was made of, with its cookies.
    response: Any = field(default=None, compare=False, repr=False)

    @property
    def failed(self) -> bool:
        return self.status >= 400

    @property
    def content(self) -> bytes:
        if self.body is None:
            return b""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


class Undone(Exception):
    """Rolls the transaction back; the client gets the answer."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


class Abort(Undone):
    """Raised in the work: it is rolled back, and the answer, if under 500, is stored."""


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
    """A request: its key, the scope in which the key is unique, and what it asks for."""

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
        """The answer if there is one already; None has the work done."""
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
                # "recovered": somebody else claims with leases in this scope,
                # and what was done under that claim is not known here.
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
    """Around a statement of this library: an error that is the client's is answered.

    Around FINISH, with the work's answer: work that catches an error of the
    database, or rolls back, leaves no transaction to store its answer in.  If
    that is a refusal, it is stored alone; if not, the work is lost, and the
    error is raised.
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
    """What an error of the database says to the client, if anything.

    The client has sent what the claim is given, not what the work returns:
    of that it only hears that it is too large.
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
    """Claim, work and result, in a transaction that the caller has begun and commits.

    execute(name, parameters) executes one of the statements() and gives its row.
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
    """Run an attempt, a transaction, until it comes to an answer.

    What an Abort answers with is stored by an attempt of its own.  Between the
    two the key is free; who claims it then does the work, and the second
    attempt answers as that left it: nothing has been sent before.
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
    """As run_to_an_answer()."""
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
    """Whether a transaction that failed came to nothing because of another one."""
    cause = database_error(error)
    return tries < 3 and cause is not None and sqlstate(cause) in ("40001", "40P01")
