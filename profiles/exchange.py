"""A user's own files: written out, checked, and put into the user's folder."""

from __future__ import annotations

from pathlib import Path

from profiles.errors import InputError
from profiles.files import write_atomically
from profiles.loader import USER_FOLDERS, load_catalog, user_folders
from profiles.schema import ModelProfile
from profiles.side_models import SideModel
from profiles.yaml_io import MAX_BYTES, to_yaml


def export_text(model: ModelProfile | SideModel) -> str:
    """A profile file: `load_catalog` reads it back to an equal model with the same digest."""
    return to_yaml(model.to_dict())


def import_file(file: Path, folder: Path | None = None, *, force: bool = False) -> Path:
    """Check ``file`` against the catalogue and the folder's other files, then copy it in, bytes unchanged.

    The folder is made when it is not there. Raises InputError for a fault in the file, and for a file of
    that name already in the folder unless ``force``.
    """
    if not file.is_file():
        raise InputError(f"{file}: no such file.")
    target = _target(folder) / _yaml_name(file)
    if target.exists() and not force:
        raise InputError(f"{target} is there already; replace it with --force, or rename {file.name}.")
    others = (
        sorted(path for path in target.parent.glob("*.y*ml") if path.name != target.name)
        if target.parent.is_dir()
        else []
    )
    load_catalog(*others, file)
    data = file.read_bytes()[:MAX_BYTES]
    write_atomically(target, data)
    return target


def _yaml_name(file: Path) -> str:
    return file.name if file.suffix in {".yaml", ".yml"} else f"{file.name}.yaml"


def _target(folder: Path | None) -> Path:
    if folder is not None:
        return folder
    folders = user_folders()
    if not folders:
        raise InputError(f"no folder to import into: set {USER_FOLDERS} to one, or name it with --profiles.")
    return folders[-1]
