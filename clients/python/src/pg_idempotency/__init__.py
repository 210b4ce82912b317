"""Retry-safe requests over the PostgreSQL extension idempotency."""

from .core import Abort, Answer, Call

__all__ = ["Abort", "Answer", "Call"]
