"""Writing a file so that whatever happens the old one or the new one is there, never half of one."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from profiles.errors import InputError


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write ``content`` beside ``path``, flush it to the disk, and rename it into place.

    Raises InputError when the folder cannot be written.
    """
    data = content.encode() if isinstance(content, str) else content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}.") from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(draft, 0o644)
        os.replace(draft, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}.") from None
    finally:
        Path(draft).unlink(missing_ok=True)
