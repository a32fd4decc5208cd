"""One content model to HTML, Markdown and JSON; the figures and the words, once."""

from sim.report.write import FORMATS, write_report

__all__ = ["FORMATS", "write_report"]
