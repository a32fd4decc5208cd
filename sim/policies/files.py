"""A user's own policy, from a Python file that the command line names.

The file is code and is run, so only the person at the command line may name it: a scenario file, which may
come from elsewhere, cannot.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import zlib
from dataclasses import is_dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType

from profiles.errors import InputError, nearest
from sim.policies.base import policy, policy_class, policy_names

ENVIRONMENT = "PROFLASH_POLICY_FILES"  # one spec a line
_MARK = "__proflash_policy_file__"


def load_policy_file(spec: str) -> str:
    """Run the file in ``path/to/my.py:MyPolicy`` and register that class under its own name; returns it.

    Raises InputError for a file or class that is not there, a file that fails, a class that is no frozen
    dataclass with ``choose``, and a name that a shipped policy has.
    """
    place, _, name = spec.rpartition(":")
    path = Path(place)
    if not place or not name.isidentifier():
        raise InputError(f"--policy-file {spec}: right: FILE.py:CLASS, e.g. my_policy.py:MyPolicy")
    if path.suffix != ".py" or not path.is_file():
        raise InputError(f"--policy-file {spec}: no Python file {place}")
    found = _class(_module(path, spec), name, spec)
    if name in policy_names() and not hasattr(policy_class(name), _MARK):
        raise InputError(f"--policy-file {spec}: {name} is the name of a shipped policy; call it otherwise")
    setattr(found, _MARK, f"{path.resolve()}:{name}")
    policy(name)(found)
    return name


def load_named_files() -> None:
    """Load the files that the environment names: how a server's child knows what its parent was given."""
    for spec in filter(None, os.environ.get(ENVIRONMENT, "").splitlines()):
        _load_once(spec)


@lru_cache(maxsize=32)
def _load_once(spec: str) -> str:
    return load_policy_file(spec)


def loaded_files() -> tuple[str, ...]:
    """What a worker process must load to know the same policies."""
    classes = (policy_class(name) for name in policy_names())
    return tuple(dict.fromkeys(getattr(cls, _MARK) for cls in classes if hasattr(cls, _MARK)))


def _module(path: Path, spec: str) -> ModuleType:
    """The file as a module of its own; sys.modules holds it, for the names in its annotations."""
    name = f"policy_file_{path.stem}_{zlib.crc32(str(path.resolve()).encode()):08x}"
    found = importlib.util.spec_from_file_location(name, path)
    if found is None or found.loader is None:
        raise InputError(f"--policy-file {spec}: {path} cannot be read as Python")
    module = sys.modules[name] = importlib.util.module_from_spec(found)
    shipped = {own: policy_class(own) for own in policy_names()}
    try:
        found.loader.exec_module(module)
    except Exception as error:  # it is the user's code: anything may come
        raise InputError(f"--policy-file {spec}: {path} fails: {type(error).__name__}: {error}") from error
    for own, cls in shipped.items():  # the file may register names itself, but not a shipped one
        if policy_class(own) is not cls and not hasattr(cls, _MARK):
            policy(own)(cls)
            raise InputError(f"--policy-file {spec}: {own} is the name of a shipped policy; take another")
    return module


def _class(module: ModuleType, name: str, spec: str) -> type:
    found = getattr(module, name, None)
    if not isinstance(found, type):
        classes = [key for key, value in vars(module).items() if isinstance(value, type)]
        raise InputError(f"--policy-file {spec}: the file has no class {name}{nearest(name, classes)}")
    frozen = is_dataclass(found) and found.__dataclass_params__.frozen  # type: ignore[attr-defined]
    if not frozen or not callable(getattr(found, "choose", None)):
        raise InputError(f"--policy-file {spec}: {name} must be a frozen dataclass with a method choose")
    return found
