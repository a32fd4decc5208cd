"""What one instance keeps of prompts it has read: whole prefixes, the least recently used dropped first."""

from __future__ import annotations

from sim.stations.context_cache import Beginnings


class PrefixStore:
    """Prefixes in a share of the memory: texts that classes share, and conversations as last sent.

    A prefix is there once a prompt that begins with it has been read. A text is numbered as in the
    workload, a conversation by -1 - its first request.
    """

    def __init__(self, room: int, begin: Beginnings) -> None:
        self._room, self._begin = room, begin
        self._kept: dict[int, int] = {}  # tokens, the least recently used first
        self._used = 0

    def find(self, request: int) -> int:
        """Tokens at the beginning of a prompt that need not be read; what is found is used."""
        begin = self._begin
        shared, conversation = begin.shared[request], -1 - begin.opener[request]
        found = 0
        if shared >= 0 and shared in self._kept:
            found = begin.shared_tokens[request]
            self._put(shared, found)
        if begin.history[request] and conversation in self._kept:
            kept = self._kept[conversation]
            found = max(found, min(kept, begin.history[request]))
            self._put(conversation, kept)
        return found

    def keep(self, request: int) -> None:
        """A prompt has been read."""
        begin = self._begin
        if begin.shared[request] >= 0:
            self._put(begin.shared[request], begin.shared_tokens[request])
        self._put(-1 - begin.opener[request], begin.prompts[request])

    def clear(self) -> None:
        """Forget everything, as an instance that restarts."""
        self._kept.clear()
        self._used = 0

    def _put(self, key: int, tokens: int) -> None:
        self._used -= self._kept.pop(key, 0)
        if tokens > self._room:
            return
        self._kept[key] = tokens
        self._used += tokens
        while self._used > self._room:
            oldest = next(iter(self._kept))
            self._used -= self._kept.pop(oldest)
