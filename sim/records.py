"""What happened: one row a request, one a call made for it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from profiles.prices import Unit
from sim.workload.columns import Workload

Floats = NDArray[np.float64]


class Outcome(IntEnum):
    """How an attempt, and in the end its request, came out."""

    SERVED = 0
    THROTTLED = 1  # 429: a limit, or a reservation that does not spill
    TIMED_OUT = 2  # the client stopped waiting
    REJECTED = 3  # a full queue, the policy's own refusal, or a guard of the client's
    FAILED = 4  # an error of the server
    UNFINISHED = 5  # still under way when the run was cut
    UNSENT = 6  # a later turn of a session that ended before it: it never arrived
    ABANDONED = 7  # the user left before the first token
    CANCELLED = 8  # another call for the same request had answered first (attempts only)


class Reason(IntEnum):
    """Which limit an attempt met, or why the client let it go; NONE for the rest."""

    NONE = 0
    RPM = 1
    INPUT_TPM = 2
    RPD = 3
    RESERVATION = 4
    QUEUE_FULL = 5
    POLICY = 6
    CONTEXT = 7  # the prompt does not fit the model's window, or the call the instance's memory
    CONTENTION = 8  # above the priority threshold while the shared pool was pressed
    OUTAGE = 9  # 503: the endpoint was down
    SERVER_ERROR = 10  # 5xx of a single call
    CONCURRENT = 11  # too many calls under way
    ENQUEUED_TOKENS = 12  # too many input tokens under way
    SPEND_RATE = 13  # too much spent in the last ten minutes
    BILLING_CAP = 14  # too much spent this month
    INSTANCE_LOST = 20  # the instance that ran it was lost
    JOB_TOKENS = 25  # longer than all that batch jobs may hold
    SESSIONS = 26  # as many Live sessions open as may be
    SESSION_LENGTH = 27  # the Live session had lasted as long as one may
    NO_ROOM = 28  # 429 of a single call that no limit of the caller explains
    HEDGED = 35  # lost the race against another call for the same request
    PATIENCE = 36  # the user had waited long enough
    FIRST_TOKEN = 37  # no first token within the client's timeout for it
    DEADLINE = 38  # the request's deadline passed, and the server was told
    CONNECT = 39  # no connection came about in time: the endpoint did not answer at all
    CUT_OFF = 40  # under way when the endpoint went down; not billed
    CUT_OFF_BILLED = 41  # the same where what it had done is billed


class Leave(IntEnum):
    """Why a stay on an instance ended."""

    FINISHED = 0
    PREEMPTED = 1  # to make room, or for somebody more urgent; it comes back
    CANCELLED = 2  # the client stopped waiting and said so
    LOST = 3  # with its instance
    CUT = 4  # the run was cut while it lasted


class Kind(IntEnum):
    """Why an attempt was made."""

    FIRST = 0
    RETRY = 1  # the one before ended in an error
    HEDGE = 2  # the one before was slow, and may still answer
    ESCALATION = 3  # the one before answered, and its answer was not good enough
    VERIFICATION = 4  # the one before answered, and a model judges its answer


class Lane(IntEnum):
    """Which purchase paid for an attempt."""

    OWN = 0  # the endpoint's own way of buying
    SPILL = 1  # a reservation's overflow, billed as pay-as-you-go


@dataclass(frozen=True, slots=True)
class Requests:
    """One row a request, in the workload's order. Times are seconds; NaN where it never came to that."""

    arrival_s: Floats  # when it really came; NaN where it never did
    outcome: NDArray[np.int8]
    attempts: NDArray[np.int32]
    endpoint: NDArray[np.int16]  # of the attempt that answered, else of the last; -1 if none was made
    first_s: Floats  # first answer token at the user; a verified answer is shown when it is accepted
    end_s: Floats  # last token, or the moment the request was given up


@dataclass(frozen=True, slots=True)
class Attempts:
    """One row a call, in the order the calls ended. Token columns hold what the service worked off."""

    request: NDArray[np.int32]
    number: NDArray[np.int32]  # 1 for the first try of a stage; a hedge has the number of the try it backs up
    stage: NDArray[np.int8]  # place in a chain of endpoints, 0 first; an escalation is a stage further
    kind: NDArray[np.int8]
    endpoint: NDArray[np.int16]
    lane: NDArray[np.int8]
    outcome: NDArray[np.int8]  # as the client saw it
    reason: NDArray[np.int8]
    send_s: Floats
    begin_s: Floats  # service began; NaN if never
    first_s: Floats  # the service's first answer token
    end_s: Floats  # the client heard the outcome
    free_s: Floats  # the service stopped working on it (later than end_s after an uncancelled timeout)
    input_tokens: NDArray[np.int32]
    cached_tokens: NDArray[np.int32]
    thinking_tokens: NDArray[np.int32]
    output_tokens: NDArray[np.int32]
    reserved_tokens: Floats  # what a reservation set aside at admission, in its own units; else 0

    def __len__(self) -> int:
        return len(self.request)


@dataclass(frozen=True, slots=True)
class Refusals:
    """What errors said besides their reason, one row an attempt that was answered with one."""

    attempt: NDArray[np.int64]  # row of `Attempts`
    delay_s: Floats  # the retry delay it came with; 0: none, infinite: it can never pass
    scope: NDArray[
        np.int16
    ]  # place among `World.scopes` of the limit it met; -1: the endpoint's own, or none


NO_REFUSALS = Refusals(np.empty(0, np.int64), np.empty(0), np.empty(0, np.int16))
UsageUnit = Literal["instance_hour"] | Unit


@dataclass(frozen=True, slots=True)
class Usage:
    """Something billed that is no token of a call: an instance that is there, tokens stored, a query.

    ``count`` things from ``begin_s`` to ``end_s`` where the unit is by the hour (``instance_hour``,
    ``cache_storage_hour``: tokens stored); else ``count`` units used at ``begin_s``. ``class_id`` -1 is
    nobody's: there whether requests come or not, and paid as a fixed cost.
    """

    endpoint: str
    unit: UsageUnit
    class_id: int
    begin_s: float
    end_s: float
    count: int


@dataclass(frozen=True, slots=True)
class StationLog:
    """One station's own accumulators, kept while the clock ran; the audit sets them against the rows."""

    endpoint: str
    servers: float  # concurrent slots; infinite where nothing queues
    in_system_integral: float  # integral of the number in system over time
    busy_integral: float  # integral of the number in service over time
    peak_in_system: int
    peak_queue: int


@dataclass(frozen=True, slots=True)
class Stays:
    """One row a stay of a call on an instance: one where nobody is preempted, in the order they ended.

    An instance's step clock counts the decode steps it has made; a stay that never got to decode has -1.
    """

    attempt: NDArray[np.int64]  # row of `Attempts`
    machine: NDArray[np.int32]  # number of the instance at its endpoint
    begin_s: Floats
    decode_s: Floats  # the prompt had been read; NaN if it never was
    end_s: Floats  # it left between two steps; later than free_s where it was cancelled in the middle of one
    begin_step: NDArray[np.int64]
    decode_step: NDArray[np.int64]
    end_step: NDArray[np.int64]
    resident_tokens: NDArray[np.int64]  # keys and values when it began to decode
    read_tokens: NDArray[np.int64]  # of its prompt and of what it had made; 0 if nothing was
    how: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.attempt)


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance of an endpoint whose instances come and go; seconds, NaN where it never came to that.

    It is paid from ``ordered_s`` to ``gone_s``, takes calls from ``ready_s`` to ``drain_s``, and then
    finishes what it runs. ``down`` are the spells (lost, back) in which it ran nothing.
    """

    endpoint: str
    number: int
    ordered_s: float
    ready_s: float
    drain_s: float
    gone_s: float
    down: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Records:
    """All of one replication: the load, what became of it, and the stations' own accounts."""

    workload: Workload
    requests: Requests
    attempts: Attempts
    stations: tuple[StationLog, ...]
    ended_s: float  # when the clock stopped
    usage: tuple[Usage, ...] = ()
    stays: Stays | None = None  # on instances that batch, preempt or come and go; None where none do
    refusals: Refusals = NO_REFUSALS
    scopes: tuple[str, ...] = ()  # names of the limits that several endpoints share
    instances: tuple[Instance, ...] = ()  # of endpoints where they come and go

    def in_service(self, endpoint: int) -> tuple[Floats, Floats]:
        """Begin and end of each stretch of service at an endpoint; a call that is preempted has several."""
        a, stays = self.attempts, self.stays
        if stays is not None and (mine := a.endpoint[stays.attempt] == endpoint).any():
            return stays.begin_s[mine], np.minimum(stays.end_s, a.free_s[stays.attempt])[mine]
        begun = (a.endpoint == endpoint) & ~np.isnan(a.begin_s)
        return a.begin_s[begun], a.free_s[begun]

    @property
    def endpoint_names(self) -> tuple[str, ...]:
        """Names the ``endpoint`` columns index."""
        return tuple(station.endpoint for station in self.stations)

    @property
    def nbytes(self) -> int:
        """Memory of all columns."""
        tables = (self.requests, self.attempts)
        own = sum(int(getattr(t, name).nbytes) for t in tables for name in t.__dataclass_fields__)
        return own + self.workload.nbytes


def called(load: Workload, arrival_s: Floats) -> Floats:
    """When the first call of each request was due: as it came, or once what it needs had been looked up."""
    return arrival_s if load.retrieval_s is None else arrival_s + load.retrieval_s


def verifying(attempts: Attempts, n: int) -> NDArray[np.bool_]:
    """Which attempts judge an answer, second tries among them; ``n`` requests."""
    own = attempts.kind == Kind.VERIFICATION
    stage = np.full(n, -1)
    stage[attempts.request[own]] = attempts.stage[own]
    return np.asarray(attempts.stage == stage[attempts.request])


def judged(records: Records) -> NDArray[np.bool_]:
    """Requests on whose answer a judging model has spoken."""
    attempts, n = records.attempts, len(records.workload)
    found = np.zeros(n, dtype=bool)
    found[attempts.request[verifying(attempts, n) & (attempts.outcome == Outcome.SERVED)]] = True
    return found
