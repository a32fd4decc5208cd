"""Tables that only some studies have: what caches spared, how Live sessions went, who called again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from profiles.money import PUSD_PER_USD
from sim.outcome.stats import Estimate
from sim.outcome.summary import Summary
from sim.report import words
from sim.report.tables import Cell, Table


def extra_tables(summary: Summary, label: str | None = None) -> tuple[Table, ...]:
    """Those that the summary has something for; ``label`` is the option's, by default its policy."""
    under = label or summary.policy
    return (*_refusals(summary, under), *_caches(summary, under), *_live(summary, under))


def _refusals(summary: Summary, under: str) -> Iterator[Table]:
    """Which limit refused, and whose it is."""
    if not summary.refusals:
        return
    rows = tuple(
        (
            Cell(one.endpoint),
            Cell(str(one.status)),
            Cell(words.reason(one.reason)),
            Cell("-" if one.status != 429 else f"shared {one.scope}" if one.scope else "the endpoint's own"),
            _row("", one.calls, words.count, words.count_interval)[1],
        )
        for one in summary.refusals
    )
    head = ("endpoint", "status", "because of", "whose limit", "calls a run")
    yield Table(f"Calls that came back with an error under {under}, by the limit they met", head, rows)


def _caches(summary: Summary, under: str) -> Iterator[Table]:
    found = summary.caches
    if found is None:
        return
    rows = (
        ("questions answered from memory", found.memory_share, words.share, words.share_interval),
        ("spared by that, a month", found.memory_usd_per_month, words.money, words.money_interval),
        ("prompt tokens read from a context cache", found.cached_share, words.share, words.share_interval),
        ("spared by that, a month", found.context_usd_per_month, words.money, words.money_interval),
    )
    known = tuple(_row(*row) for row in rows if row[1].value is not None)
    yield Table(f"What caches spared under {under}", ("what", "figure"), known)


def _live(summary: Summary, under: str) -> Iterator[Table]:
    for name, found in summary.live.items():
        rows = (
            ("sessions", found.sessions, words.count, None),
            ("calls that found none free", found.blocked_share, words.share, words.share_interval),
            ("cut after the longest time", found.cut_sessions, words.count, None),
            ("open at a time, mean", found.mean_open, words.count, None),
            ("open at a time, most", found.peak_open, words.count, None),
            ("minutes a session", found.minutes_per_session, words.count, None),
            ("reconnects a session", found.reconnects_per_session, words.count, None),
            ("USD a session minute", found.usd_per_session_minute, words.money, words.money_interval),
        )
        caption = f"Live sessions of {name} under {under}"
        yield Table(caption, ("what", "figure"), tuple(_row(*row) for row in rows))


def calls_table(options: Mapping[str, Summary]) -> Table | None:
    """Calls a request by cause, the 429s and the users who left; None where each request is one call."""
    rows = [row for label, one in options.items() for row in _calls(label, one)]
    if all(_is_calm(one) for one in options.values()):
        return None
    head = ("option", "calls", "a run", "a request", "by the token, replication 0")
    caption = f"Calls a request (the amplification) by cause, with the {words.LEVEL_WORDS}"
    return Table(caption, head, tuple(rows))


def _is_calm(summary: Summary) -> bool:
    total = summary.total
    again = (
        total.retries,
        total.hedges,
        total.escalations,
        total.verifications,
        total.throttled_attempts,
        total.abandoned,
    )
    return not any(found.value for found in again)


def _calls(label: str, summary: Summary) -> Iterator[tuple[Cell, ...]]:
    total = summary.total
    paid: dict[str, int] = {kind.kind: kind.pusd for kind in summary.bill.kinds}
    per_request = total.attempts_per_request
    yield (
        Cell(label),
        Cell("all"),
        _row("", total.attempts, words.count, words.count_interval)[1],
        _row("", per_request, words.count, words.count_interval)[1],
        Cell(words.usd(sum(paid.values()) / PUSD_PER_USD)),
    )
    again = {
        "retry": total.retries,
        "hedge": total.hedges,
        "escalation": total.escalations,
        "verification": total.verifications,
    }
    for kind, found in again.items():
        if found.value:
            cost = Cell(words.usd(paid.get(kind, 0) / PUSD_PER_USD))
            yield (Cell(label), Cell(words.KINDS[kind]), *_counted(found, total.requests), cost)
    for what, found in (("met a 429", total.throttled_attempts), ("users who left", total.abandoned)):
        if found.value:
            yield (Cell(label), Cell(what), *_counted(found, total.requests), Cell("-"))


def _counted(found: Estimate, requests: Estimate) -> tuple[Cell, Cell]:
    each = words.UNKNOWN if not requests.value else words.number((found.value or 0.0) / requests.value)
    return _row("", found, words.count, words.count_interval)[1], Cell(each)


Say = Callable[[Estimate], str]


def _row(what: str, found: Estimate, say: Say, interval: Say | None) -> tuple[Cell, ...]:
    return Cell(what), Cell(say(found), interval(found) if interval else "")
