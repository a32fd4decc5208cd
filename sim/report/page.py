"""A page of figures and nothing else: self-contained, for what is looked at on its own."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import plotly.graph_objects as go

from sim.report.looks import alt_text


def figures_page(title: str, figures: Sequence[go.Figure]) -> str:
    """One HTML page that needs no network; each figure with its words below it."""
    parts = []
    for k, figure in enumerate(figures):
        drawn = figure.to_html(
            full_html=False, include_plotlyjs="inline" if k == 0 else False, div_id=f"figure-{k}"
        )
        parts.append(f"<figure>{drawn}<figcaption>{escape(alt_text(figure))}</figcaption></figure>")
    head = f'<meta charset="utf-8"><title>{escape(title)}</title>'
    style = "<style>body{font:16px system-ui;margin:2rem auto;max-width:64rem}figure{margin:2rem 0}</style>"
    body = f"<h1>{escape(title)}</h1>{''.join(parts)}"
    return f'<!doctype html><html lang="en"><head>{head}{style}</head><body>{body}</body></html>\n'
