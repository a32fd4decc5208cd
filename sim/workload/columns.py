"""The offered load as columns, all drawn before the clock starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Self

import numpy as np
from numpy.typing import NDArray

from sim.luck import Luck
from sim.scenario.media import MediaKind, ToolKind

OPTIONAL = (
    "prefix",
    "prefix_tokens",
    "history_tokens",
    "query",
    "spoken",
    "until_s",
    "retrieval_s",
    "deferrable",
    "patience_s",
)
_NO_COLUMNS = ("class_names", "luck", "labels", "media", "tools")


@dataclass(frozen=True, slots=True)
class Labels:
    """A word about each request: places in ``names``, -1 where nothing is stated."""

    names: tuple[str, ...]
    codes: NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Workload:
    """One row a request, in order of arrival.

    A session's next turn (``follows`` its predecessor, -1: none) comes ``think_s`` after the answer before
    it, so its ``arrival_s`` here is only nominal: the earliest it could come. ``thinking_tokens`` is -1
    where the model's own law draws it; ``deadline_s`` is seconds after arrival, infinite where there is
    none. ``labels`` (``task_type``, ``governance``, ``region``) are there where a class states them, the
    optional columns at the end where the scenario has a use for them. ``media`` has a column for each kind
    that a class states: pictures and pages by number, film and sound by the millisecond; how many tokens
    they are depends on who reads them. ``luck`` holds every further draw a run needs.
    """

    class_names: tuple[str, ...]
    luck: Luck
    arrival_s: NDArray[np.float64]
    class_id: NDArray[np.int16]
    input_tokens: NDArray[np.int32]  # the prompt's text, cached prefix included
    cached_tokens: NDArray[np.int32]
    output_tokens: NDArray[np.int32]  # what the answer would be; the caps apply in the run
    thinking_tokens: NDArray[np.int32]
    max_output_tokens: NDArray[np.int32]  # 0: the model's own cap
    priority: NDArray[np.int8]
    deadline_s: NDArray[np.float32]
    difficulty: NDArray[np.float32]
    follows: NDArray[np.int32]
    think_s: NDArray[np.float32]
    group: NDArray[np.int32]  # number of the session or fan-out job it belongs to; -1: none
    labels: Mapping[str, Labels] = field(default_factory=dict)
    media: Mapping[MediaKind, NDArray[np.int32]] = field(default_factory=dict)
    tools: Mapping[ToolKind, NDArray[np.int32]] = field(default_factory=dict)  # queries a call makes
    prefix: NDArray[np.int32] | None = None  # which shared text the prompt begins with; -1: none
    prefix_tokens: NDArray[np.int32] | None = None  # and its length
    history_tokens: NDArray[np.int32] | None = None  # beginning shared with the turn before; 0: nothing
    spoken: NDArray[np.int32] | None = None  # tokens of the prompt that are sound
    query: NDArray[np.int32] | None = None  # which question it asks, if that may come again; -1: none
    until_s: NDArray[np.float64] | None = None  # a later turn is not sent from then on: its user has left
    retrieval_s: NDArray[np.float64] | None = None  # between the user's question and the call
    deferrable: NDArray[np.bool_] | None = None  # nobody waits for it: it may be held
    patience_s: NDArray[np.float32] | None = None  # how long its user waits for the first token

    def __len__(self) -> int:
        return len(self.arrival_s)

    @classmethod
    def column_names(cls) -> tuple[str, ...]:
        """Names of the columns that every load has, in order."""
        without = (*_NO_COLUMNS, *OPTIONAL)
        return tuple(f.name for f in fields(cls) if f.name not in without)

    @property
    def present(self) -> tuple[str, ...]:
        """Names of the columns this load has."""
        more = (name for name in OPTIONAL if getattr(self, name) is not None)
        return (*self.column_names(), *more)

    def take(self, order: NDArray[np.intp]) -> Self:
        """The rows ``order`` picks, as a new workload."""
        columns = {name: getattr(self, name)[order] for name in self.present}
        if (self.follows >= 0).any():
            place = np.full(len(self), -1, dtype=np.int32)
            place[order] = np.arange(len(order))
            before = columns["follows"]
            columns["follows"] = np.where(before >= 0, place[before], -1).astype(np.int32)
        labels = {name: Labels(one.names, one.codes[order]) for name, one in self.labels.items()}
        media = {kind: column[order] for kind, column in self.media.items()}
        tools = {kind: column[order] for kind, column in self.tools.items()}
        return type(self)(self.class_names, self.luck, **columns, labels=labels, media=media, tools=tools)

    @property
    def nbytes(self) -> int:
        """Memory of the columns."""
        columns = [getattr(self, name) for name in self.present]
        columns += (one.codes for one in self.labels.values())
        columns += [*self.media.values(), *self.tools.values()]
        return sum(column.nbytes for column in columns)
