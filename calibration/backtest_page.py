"""A backtest as one self-contained HTML page: verdict, table, distribution functions over each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from calibration.backtest import Backtest, Row, between, name_of, words

_TITLES = {
    "ttft_s": "Time to the first answer chunk",
    "tpot_s": "Time per output token",
    "end_to_end_s": "Time to the last token",
}
_DASHES = {"measured": "", "predicted": "6 4"}
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _BOTTOM = 480, 250, 44, 24, 34
_LEGEND = (
    "agrees: the error is within the tolerance. within noise: it is larger, but the prediction lies in the "
    "interval of the measured figure, or the figure where 95 % of predicted runs lie. differs: neither. too "
    "few: the measured run is too small to tell."
)
# The lines are Okabe and Ito's blue and orange, which everybody tells apart; lighter ones on dark ground.
_STYLE = """
:root { color-scheme: light dark; --ground: #fff; --ink: #1c2730; --soft: #55636f; --rule: #d9e0e6;
  --measured: #0072b2; --predicted: #d55e00; --good: #00694d; --bad: #a34700; }
@media (prefers-color-scheme: dark) { :root { --ground: #12181d; --ink: #e3e9ee; --soft: #a5b1bb;
  --rule: #34414b; --measured: #56b4e9; --predicted: #e69f00; --good: #4cc3a0; --bad: #ffa257; } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1060px; margin: 2em auto; padding: 0 1em;
  color: var(--ink); background: var(--ground); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; white-space: nowrap; }
caption { text-align: left; color: var(--soft); }
th, td { text-align: right; padding: 3px 10px; border-bottom: 1px solid var(--rule); }
th:first-child, th:last-child, td:last-child { text-align: left; }
.differs { color: var(--bad); font-weight: 600; } .agrees { color: var(--good); }
.within, .too, .legend { color: var(--soft); }
figure { display: inline-block; margin: 12px 12px 0 0; } figcaption { color: var(--soft); }
svg { max-width: 100%; } svg text { fill: var(--ink); } svg .rule { stroke: var(--rule); }
.measured { stroke: var(--measured); } .predicted { stroke: var(--predicted); }
"""


def page(found: Mapping[str, Backtest], title: str, notes: Sequence[str] = ()) -> str:
    """The page of one or several models; it loads nothing and holds no script."""
    agrees = all(one.agrees for one in found.values())
    verdict = "The prediction holds." if agrees else "The prediction differs from what was measured."
    parts = [f"<h1>{escape(title)}</h1><p><b>{verdict}</b></p>"]
    parts += [f"<p>{escape(note)}</p>" for note in notes]
    parts += [_model(name, one) for name, one in found.items()]
    parts.append(f'<p class="legend">{_LEGEND}</p>')
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>\n'


def _model(name: str, found: Backtest) -> str:
    head = "".join(
        f"<th>{text}</th>"
        for text in (
            "figure",
            "measured",
            "95 % interval",
            "predicted",
            "95 % of runs in",
            "error",
            "verdict",
        )
    )
    rows = "".join(_row(row) for row in found.rows)
    caption = f"{found.n_measured} measured and {found.n_predicted} predicted calls"
    curves = "".join(_figure(figure, both) for figure, both in found.curves.items())
    return (
        f'<h2>{escape(name)}</h2><div class="wide"><table><caption>{caption}</caption>'
        f"<thead><tr>{head}</tr></thead>"
        f"<tbody>{rows}</tbody></table></div>{curves}"
    )


def _row(row: Row) -> str:
    value, told, error = words(row)
    cells = (value, between(row.interval), told, between(row.expected), error)
    plain = "".join(f"<td>{text}</td>" for text in cells)
    return f'<tr><th>{name_of(row)}</th>{plain}<td class="{row.verdict.split()[0]}">{row.verdict}</td></tr>'


def _figure(figure: str, both: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]]) -> str:
    """Share of calls within a time, up to the time that 99.5 % of either side keep."""
    kept = [
        seconds[min(int(0.995 * len(seconds)), len(seconds) - 1)] for seconds, _ in both.values() if seconds
    ]
    if not kept:
        return ""
    most = max(kept) or 1.0
    lines = "".join(_line(who, *curve, most) for who, curve in both.items())
    title = _TITLES[figure]
    return (
        f"<figure><figcaption>{title}, s: share of calls within it</figcaption>"
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" role="img" '
        f'aria-label="{title}, measured and predicted">{_axes(most)}{lines}</svg></figure>'
    )


def _at(seconds: float, share: float, most: float) -> str:
    x = _LEFT + (_WIDTH - _LEFT - _RIGHT) * min(seconds / most, 1.0)
    return f"{x:.1f},{(_HEIGHT - _BOTTOM) - (_HEIGHT - _BOTTOM - 22) * share:.1f}"


def _line(who: str, seconds: Sequence[float], shares: Sequence[float], most: float) -> str:
    points = " ".join(_at(s, p, most) for s, p in zip(seconds, shares, strict=True))
    k = list(_DASHES).index(who)
    stroke = f'class="{who}" stroke-width="2" stroke-dasharray="{_DASHES[who]}"'
    x = _LEFT + 10 + 110 * k
    return (
        f'<polyline points="{points}" fill="none" {stroke}/>'
        f'<line x1="{x}" x2="{x + 30}" y1="10" y2="10" {stroke}/>'
        f'<text x="{x + 35}" y="14" font-size="12">{who}</text>'
    )


def _axes(most: float) -> str:
    ticks = [(most * k / 4, 0.0) for k in range(5)]
    marks = []
    for seconds, _ in ticks:
        x = _at(seconds, 0.0, most).split(",")[0]
        marks.append(
            f'<text x="{x}" y="{_HEIGHT - 12}" font-size="11" text-anchor="middle">{seconds:.3g}</text>'
        )
    for share in (0.0, 0.5, 0.9, 1.0):
        y = _at(0.0, share, most).split(",")[1]
        marks.append(
            f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}" class="rule"/>'
            f'<text x="{_LEFT - 6}" y="{y}" font-size="11" text-anchor="end">{share:.0%}</text>'
        )
    return "".join(marks)
