"""One self-contained HTML page: no request leaves it, and no word of the user's is read as markup.

The page carries plotly.js from the installed wheel once. A Content-Security-Policy allows only the scripts
whose hashes it names and forbids every connection; the template escapes all text; figures travel as JSON
in which no character can end the element they stand in.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sim.experiments.plan import Plan
from sim.outcome.summary import Summary
from sim.report.content import content_of
from sim.scenario.spec import Scenario

if TYPE_CHECKING:
    from sim.report.charts import Chart

__all__ = ["csp_hash", "figures_json", "page", "render_html"]


class Drawn(Protocol):
    """The charts of a page."""

    @property
    def all(self) -> tuple[Chart, ...]:
        """In the order of the page."""


_UNSAFE = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


def render_html(result: Plan | Summary, scenario: Scenario | None = None) -> str:
    """The report of a plan or a run as one page; the same input gives the same bytes.

    ``scenario`` draws the SLO lines, and adds to a run its quality bars, budget and assumptions.
    """
    from sim.report.charts import charts_of

    return page("report.html", content_of(result, scenario), charts_of(result, scenario))


def page(template: str, content: object, charts: Drawn) -> str:
    """A template of this folder, filled in: what it says, and what it shows."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FunctionLoader(lambda name: files("sim.report").joinpath(name).read_text(encoding="utf-8")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"csp_hash": csp_hash}
    return environment.get_template(template).render(
        content=content,
        charts=charts,
        figures=Markup(figures_json(charts)),  # noqa: S704 - escaped by figures_json
        plotly=Markup(_plotly_js()),  # noqa: S704 - the library itself
    )


def csp_hash(script: str) -> str:
    """The source expression that allows exactly this inline script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(str(script).encode()).digest()).decode()}'"


def figures_json(charts: Drawn) -> str:
    """All figures by element id and theme, as JSON that cannot leave its ``<script>`` element."""
    plain = {
        f"chart-{chart.name}": {"light": _plain(chart.light), "dark": _plain(chart.dark)}
        for chart in charts.all
    }
    return json.dumps(plain, ensure_ascii=False, allow_nan=False, separators=(",", ":")).translate(_UNSAFE)


def _plain(figure: Any) -> dict[str, Any]:  # noqa: ANN401 - plotly carries no types
    found: dict[str, Any] = json.loads(figure.to_json())
    return {"data": found["data"], "layout": found["layout"]}


@lru_cache(maxsize=1)
def _plotly_js() -> str:
    """plotly.js as shipped in the wheel, made safe to stand inside a script element."""
    import plotly

    source = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
    text = source.read_text(encoding="utf-8")  # universal newlines: the parser's text is the hashed text
    return re.sub("</(?=script)", r"<\\/", text, flags=re.IGNORECASE)
