"""Tables that only some studies have: what caches spared, how Live sessions went."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sim.outcome.stats import Estimate
from sim.outcome.summary import Summary
from sim.report import words
from sim.report.tables import Cell, Table


def extra_tables(summary: Summary, label: str | None = None) -> tuple[Table, ...]:
    """Those that the summary has something for; ``label`` is the option's, by default its policy."""
    under = label or summary.policy
    return (*_caches(summary, under), *_live(summary, under))


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


Say = Callable[[Estimate], str]


def _row(what: str, found: Estimate, say: Say, interval: Say | None) -> tuple[Cell, ...]:
    return Cell(what), Cell(say(found), interval(found) if interval else "")
