"""On an error go down a chain of endpoints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from profiles.errors import InputError
from sim.policies.base import EndpointName, policy
from sim.policies.view import Request, System

Error = Literal["throttled", "timed_out", "rejected", "failed"]


@policy("fallback")
@dataclass(frozen=True)
class Fallback:
    """Start at the head of ``chain``; a try that ended in one of ``on`` makes the next go one further.

    Other errors try the same endpoint again, and the end of the chain is tried again and again: how often
    in all is the client's ``max_attempts``.
    """

    criterion: ClassVar[str] = "order of the chain"

    chain: tuple[EndpointName, ...] = ("pro", "flash")
    on: tuple[Error, ...] = ("throttled", "timed_out", "rejected", "failed")

    def __post_init__(self) -> None:
        if not self.chain or len(set(self.chain)) < len(self.chain):
            raise InputError(f"routing.chain: name one endpoint or more, each once; got {list(self.chain)}")

    def choose(self, request: Request, system: System) -> str:
        last, outcome = request.last_endpoint, request.last_outcome
        if last not in self.chain or outcome is None:
            return self.chain[0]
        further = outcome.name.lower() in self.on
        return self.chain[min(self.chain.index(last) + further, len(self.chain) - 1)]
