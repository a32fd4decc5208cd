"""Answers kept in front of all endpoints: least recently used out first, none older than its life.

The rule, which the audit holds every run against:

1. A request looks its query up once, when it comes. It is answered from memory if its own is one of the
   ``entries`` queries used last, and that answer was made less than ``ttl_s`` ago.
2. A query is used when it is answered from memory, and when a call has answered it: then its answer is new.
   An answer past its life keeps its place until it is made anew or pushed out.
3. Requests for a query that is being answered do not wait for that answer: they are calls of their own.
"""

from __future__ import annotations

from collections import OrderedDict

from sim.stations.base import Station


class Memory:
    """The answers at hand: when each was made, the least recently used first."""

    def __init__(self, entries: int, ttl_s: float) -> None:
        self._entries, self._ttl_s = entries, ttl_s
        self._made_s: OrderedDict[int, float] = OrderedDict()

    def answers(self, query: int, now: float) -> bool:
        """Whether a query can be answered; if so it has been used."""
        made_s = self._made_s.get(query)
        if made_s is None or now - made_s >= self._ttl_s:
            return False
        self._made_s.move_to_end(query)
        return True

    def learn(self, query: int, now: float) -> None:
        """A call has answered a query."""
        self._made_s[query] = now
        self._made_s.move_to_end(query)
        if len(self._made_s) > self._entries:
            self._made_s.popitem(last=False)


class MemoryStation(Station):
    """Gives answers from memory: no model reads a prompt or makes a token."""

    reads_prompts = False
