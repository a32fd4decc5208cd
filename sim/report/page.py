"""A page of figures and nothing else: self-contained, light or dark as its reader likes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

import plotly.graph_objects as go

from sim.report.looks import Theme, alt_text

Draw = Callable[[Theme], go.Figure]
_STYLE = """
:root{color-scheme:light dark}
body{font:16px system-ui;margin:2rem auto;max-width:64rem;padding:0 1rem;background:#fff;color:#26323d}
figure{margin:2rem 0}.dark{display:none}
@media (prefers-color-scheme:dark){
body{background:#10181f;color:#d8e0e8}.dark{display:block}.light{display:none}}
"""


def figures_page(title: str, draws: Sequence[Draw]) -> str:
    """One HTML page that needs no network; each figure in the reader's theme, with its words below it."""
    parts = [_figure(k, draw) for k, draw in enumerate(draws)]
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
    body = f"<h1>{escape(title)}</h1>{''.join(parts)}"
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>\n'


def _figure(k: int, draw: Draw) -> str:
    themes: tuple[Theme, ...] = ("light", "dark")
    drawn = [
        draw(theme).to_html(
            full_html=False,
            include_plotlyjs="inline" if (k, theme) == (0, "light") else False,
            div_id=f"figure-{k}-{theme}",
            config={"responsive": True},
        )
        for theme in themes
    ]
    both = "".join(f'<div class="{theme}">{one}</div>' for theme, one in zip(themes, drawn, strict=True))
    return f"<figure>{both}<figcaption>{escape(alt_text(draw('light')))}</figcaption></figure>"
