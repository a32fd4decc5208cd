"""Words for Streamlit: whatever is shown as Markdown is shown as it was written."""

from __future__ import annotations

import re

_MEANS_SOMETHING = re.compile(r"([!#$&()*+\-.:<>@\[\\\]_`{|}~])")


def plain(text: str) -> str:
    r"""``text`` with Markdown, HTML, LaTeX and Streamlit's colon directives made harmless.

    >>> plain("$1 to $2 :red[no] <b>")
    '\\$1 to \\$2 \\:red\\[no\\] \\<b\\>'
    """
    return _MEANS_SOMETHING.sub(r"\\\1", " ".join(text.split()))
