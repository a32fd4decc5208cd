"""From the client's log to columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.engine.build import Floor
from sim.engine.client import Client
from sim.engine.log import LogColumns
from sim.records import Attempts, Outcome, Records, Requests, Stays, called
from sim.stations.base import Call, Station
from sim.stations.base import Worked as Told
from sim.stations.stays import FIELDS
from sim.workload.columns import Workload

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]


def collect(load: Workload, floor: Floor, ended_s: float) -> Records:
    """All rows of a run that ended at ``ended_s``; what is still under way is logged as unfinished."""
    undecided = _log_unfinished(floor, ended_s)
    arrival_s = _arrivals(load, floor.client)
    log = floor.client.log.columns(called(load, arrival_s), floor.stations)
    _cut_services(log, floor.stations)
    stays = _stays(log, floor.stations)
    attempts = _attempts(load, log, floor.stations)
    requests = _requests(arrival_s, attempts, floor.client)
    _mark_undecided(requests, undecided, ended_s)
    logs = tuple(station.log(ended_s) for station in floor.stations)
    usage = tuple(row for station in floor.stations for row in station.usage(ended_s))
    refused = floor.client.log.refusals()
    instances = tuple(one for station in floor.stations for one in station.instances())
    return Records(load, requests, attempts, logs, ended_s, usage, stays, refused, floor.scopes, instances)


def _log_unfinished(floor: Floor, ended_s: float) -> list[int]:
    """Log the calls under way, and return the requests that have more to come."""
    pending = floor.clock.pending()
    under_way = [event for event in pending if isinstance(event, Call) and not event.done]
    under_way += [call for station in floor.stations for call in station.waiting()]
    for call in under_way:
        floor.client.unfinished(call, ended_s)
    return [call.request for call in under_way] + floor.client.undecided(pending)


def _attempts(load: Workload, log: LogColumns, stations: tuple[Station, ...]) -> Attempts:
    begun = ~np.isnan(log.begin_s)
    worked = _worked_off(log, begun, stations)
    reads = begun & np.array([station.reads_prompts for station in stations])[log.endpoint]
    return Attempts(
        request=log.request.astype(np.int32),
        number=log.number.astype(np.int32),
        stage=log.stage.astype(np.int8),
        kind=log.kind.astype(np.int8),
        endpoint=log.endpoint.astype(np.int16),
        lane=log.lane.astype(np.int8),
        outcome=log.outcome.astype(np.int8),
        reason=log.reason.astype(np.int8),
        send_s=log.send_s,
        begin_s=log.begin_s,
        first_s=worked.first_s,
        end_s=log.end_s,
        free_s=worked.free_s,
        input_tokens=_read(log, reads, stations),
        cached_tokens=np.where(reads, _cached(log, stations), 0).astype(np.int32),
        thinking_tokens=worked.thinking,
        output_tokens=worked.output,
        reserved_tokens=log.reserved,
    )


def _read(log: LogColumns, begun: NDArray[np.bool_], stations: tuple[Station, ...]) -> NDArray[np.int32]:
    """Prompt tokens of each attempt that began, as its endpoint's model counts them."""
    read = np.zeros(len(begun), dtype=np.int32)
    for station in stations:
        rows = np.flatnonzero(begun & (log.endpoint == station.index))
        read[rows] = station.prompts_read(log.request[rows], log.begin_s[rows])
    return read


def _cached(log: LogColumns, stations: tuple[Station, ...]) -> NDArray[np.int64]:
    """Cached tokens as drawn with the load, or where a station looks them up as it found them."""
    found = log.cached.copy()
    for station in stations:
        if station.draws_cached:
            rows = np.flatnonzero(log.endpoint == station.index)
            found[rows] = station.prompts.cached[log.request[rows]]
    return found


@dataclass(frozen=True, slots=True)
class _Worked:
    """What the services of the attempts came to, up to where they were cut short."""

    first_s: Floats
    free_s: Floats
    thinking: NDArray[np.int32]
    output: NDArray[np.int32]


def _worked_off(log: LogColumns, begun: NDArray[np.bool_], stations: tuple[Station, ...]) -> _Worked:
    n = len(log.request)
    worked = _Worked(np.full(n, np.nan), log.free_s.copy(), np.zeros(n, np.int32), np.zeros(n, np.int32))
    for station in stations:
        if (told := station.worked()) is not None:
            _as_told(worked, log, begun, station, told)
            continue
        for k, column in enumerate(station.services.columns):
            rows = np.flatnonzero(begun & (log.endpoint == station.index) & (log.service == k))
            who = log.request[rows]
            first_s = log.begin_s[rows] + (column.first_s[who] - log.saved_s[rows])
            worked.first_s[rows] = np.where(first_s <= log.free_s[rows], first_s, np.nan)
            share = _share_done(log, rows, column.total_s[who] - log.saved_s[rows])
            done = np.floor((column.thinking[who] + column.output[who]) * share)
            worked.thinking[rows] = np.minimum(column.thinking[who], done)
            worked.output[rows] = done - worked.thinking[rows]
    return worked


def _as_told(
    worked: _Worked, log: LogColumns, begun: NDArray[np.bool_], station: Station, told: Told
) -> None:
    """Fill in the rows of a station that made its times while it ran: one service begun, one row."""
    rows = np.flatnonzero(begun & (log.endpoint == station.index))
    if not len(rows):
        return
    order = np.lexsort((told.service, told.request))
    rows = rows[np.lexsort((log.service[rows], log.request[rows]))]
    worked.first_s[rows] = np.array(told.first_s)[order]
    worked.free_s[rows] = np.array(told.free_s)[order]
    tokens = np.array(told.tokens)[order]
    drawn = np.stack([column.thinking for column in station.services.columns])
    worked.thinking[rows] = np.minimum(drawn[log.service[rows], log.request[rows]], tokens)
    worked.output[rows] = tokens - worked.thinking[rows]


def _cut_services(log: LogColumns, stations: tuple[Station, ...]) -> None:
    """Set right when services ended that were lost after the client had given up on them."""
    for station in stations:
        cut = station.cut_services()
        if cut:
            request, service = np.array(list(cut), dtype=np.float64).T
            rows = _rows_of(log, request, np.full(len(cut), station.index), service)
            log.free_s[rows] = list(cut.values())


def _stays(log: LogColumns, stations: tuple[Station, ...]) -> Stays | None:
    """The stays of all stations that tell of them, each with the row of its attempt."""
    told = [(station.index, found) for station in stations if (found := station.stays()) is not None]
    if not told:
        return None
    rows = np.array([row for _, found in told for row in found.rows], dtype=np.float64)
    columns = dict(zip(FIELDS, rows.reshape(-1, len(FIELDS)).T, strict=True))
    place = np.repeat([index for index, _ in told], [len(found.rows) for _, found in told])
    attempt = _rows_of(log, columns.pop("request"), place, columns.pop("service"))
    order = np.argsort(columns["end_s"], kind="stable")
    kinds = {"machine": np.int32, "how": np.int8}
    typed = {
        name: column[order].astype(np.float64 if name.endswith("_s") else kinds.get(name, np.int64))
        for name, column in columns.items()
    }
    return Stays(attempt=attempt[order], **typed)


def _rows_of(log: LogColumns, request: Floats, endpoint: NDArray[np.int64], service: Floats) -> Rows:
    """Rows of the log that hold the given services, each of which began."""
    begun = np.flatnonzero(~np.isnan(log.begin_s))
    keys = (log.service[begun], log.endpoint[begun], log.request[begun])
    order = np.lexsort(keys)
    span = int(max(log.service.max(initial=0), service.max(initial=0))) + 1
    places = int(max(log.endpoint.max(initial=0), endpoint.max(initial=0))) + 1
    have = (log.request[begun] * places + log.endpoint[begun]) * span + log.service[begun]
    want = (request.astype(np.int64) * places + endpoint) * span + service.astype(np.int64)
    return np.asarray(begun[order[np.searchsorted(have[order], want)]], dtype=np.int64)


def _share_done(log: LogColumns, rows: NDArray[np.intp], total_s: Floats) -> Floats:
    """Share of the service that was done when it stopped; tokens are taken to come evenly over it."""
    whole = log.free_s[rows] >= log.begin_s[rows] + total_s
    worked_s = log.free_s[rows] - log.begin_s[rows]
    return np.where(whole, 1.0, worked_s / np.maximum(total_s, np.finfo(float).tiny))


def _requests(arrival_s: Floats, attempts: Attempts, client: Client) -> Requests:
    n = len(arrival_s)
    last = np.full(n, -1, dtype=np.int64)
    last[attempts.request] = np.arange(len(attempts))  # rows are in order of time: the last one stays
    judged = np.fromiter(client.answers.keys(), np.int64, len(client.answers))
    rows_and_times = np.array(list(client.answers.values())).reshape(-1, 2)
    last[judged] = rows_and_times[:, 0]
    made = last >= 0
    row = last[made]
    outcome = np.full(n, Outcome.UNSENT, dtype=np.int8)
    outcome[made] = attempts.outcome[row]
    endpoint = np.full(n, -1, dtype=np.int16)
    endpoint[made] = attempts.endpoint[row]
    first_s, end_s = np.full(n, np.nan), np.full(n, np.nan)
    served = made & (outcome == Outcome.SERVED)
    first_s[served] = attempts.first_s[last[served]]
    end_s[made] = attempts.end_s[row]
    first_s[judged] = end_s[judged] = rows_and_times[:, 1]
    away = np.fromiter(client.turned_away.keys(), np.int64, len(client.turned_away))
    outcome[away] = Outcome.REJECTED
    end_s[away] = np.fromiter(client.turned_away.values(), float, len(client.turned_away))
    gone = np.fromiter(client.left.keys(), np.int64, len(client.left))
    outcome[gone] = Outcome.ABANDONED
    end_s[gone] = np.fromiter(client.left.values(), float, len(client.left))
    first_s[outcome != Outcome.SERVED] = np.nan
    return Requests(
        arrival_s=arrival_s,
        outcome=outcome,
        attempts=np.bincount(attempts.request, minlength=n).astype(np.int32),
        endpoint=endpoint,
        first_s=first_s,
        end_s=end_s,
    )


def _mark_undecided(requests: Requests, undecided: list[int], ended_s: float) -> None:
    """Requests that the end of the run cut; one without a call so far was given up then."""
    rows = np.array(undecided, dtype=np.int64)
    requests.outcome[rows] = Outcome.UNFINISHED
    requests.first_s[rows] = np.nan
    requests.end_s[rows] = np.where(np.isnan(requests.end_s[rows]), ended_s, requests.end_s[rows])


def _arrivals(load: Workload, client: Client) -> Floats:
    """When each request came; a later turn when the client sent it, if it did."""
    arrival_s = np.where(load.follows < 0, load.arrival_s, np.nan)
    later = client.turns_taken
    arrival_s[np.fromiter(later.keys(), np.int64, len(later))] = np.fromiter(
        later.values(), float, len(later)
    )
    return arrival_s
