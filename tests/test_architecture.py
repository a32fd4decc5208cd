"""The plan of the house, checked over the syntax trees: who imports whom, and where each package lives."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("profiles", "sim", "calibration", "dashboard")

ARROWS = {  # the folders a folder may import from, besides itself
    "profiles": set(),
    "sim": {"profiles"},
    "calibration": {"profiles"},
    "dashboard": {"sim", "profiles"},
}
HOMES = {  # the only files, by prefix, that may import a package
    "simpy": ("sim/engine/", "sim/stations/"),
    "google": ("calibration/",),
    "aiohttp": ("calibration/",),
    "cryptography": ("calibration/emulator/tls.py",),
    "streamlit": ("dashboard/",),
    "plotly": ("sim/report/", "dashboard/"),
    "jinja2": ("sim/report/",),
    "pyarrow": ("sim/",),
    "rich": ("sim/commands/console.py", "sim/commands/progress.py"),
}
COMMANDS = ("typer", "rich")  # at home in every command module
ONE_FILE = ("google",)  # one client file
LAZY = (
    "streamlit",
    "plotly",
    "google",
    "aiohttp",
    "cryptography",
    "pyarrow",
    "jinja2",
)  # inside functions outside their home
PAID_BY_ALL = ("profiles/", "sim/", "proflash")  # what every command may import


def files():
    found = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    return [*found, *sorted(ROOT.glob("proflash*.py"))]


def is_command(name):
    """Whether a module holds commands: the front door, ``cli.py``, ``price_cli.py``, ``cli_run.py``."""
    stem = name.rsplit("/", 1)[-1].removesuffix(".py")
    return stem == "proflash" or "cli" in stem.split("_")


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def imports(tree):
    """(module, is at the top level) of every import."""
    top = set(map(id, _outside_functions(tree)))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) in top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module, id(node) in top


def _outside_functions(node):
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or _only_for_types(child):
            continue
        yield child
        yield from _outside_functions(child)


def _only_for_types(node):
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


TREES = {name_of(path): ast.parse(path.read_text(encoding="utf-8")) for path in files()}
EVERY = pytest.mark.parametrize("name", TREES)


def test_all_four_rooms_are_looked_at():
    assert {name.split("/")[0] for name in TREES} >= set(PACKAGES)


@EVERY
def test_imports_follow_the_arrows(name):
    room = name.split("/")[0]
    allowed = ARROWS.get(room, set(PACKAGES)) | {room}
    used = {module.split(".")[0] for module, _ in imports(TREES[name])} & {*PACKAGES, "proflash"}
    assert used <= allowed, f"{name} imports {sorted(used - allowed)}"


@EVERY
def test_every_package_stays_at_home(name):
    for module, _ in imports(TREES[name]):
        package = module.split(".")[0]
        if package in COMMANDS and is_command(name):
            continue
        homes = HOMES.get(package, () if package in COMMANDS else None)
        assert homes is None or name.startswith(homes), f"{name} imports {module}; its home is {homes}"


@pytest.mark.parametrize("package", ONE_FILE)
def test_some_packages_live_in_one_file(package):
    users = [
        name for name, tree in TREES.items() if any(m.split(".")[0] == package for m, _ in imports(tree))
    ]
    assert len(users) <= 1, users


@pytest.mark.parametrize("name", [n for n in TREES if n.startswith(PAID_BY_ALL) and "/report/" not in n])
def test_heavy_packages_are_not_paid_for_by_every_command(name):
    heavy = [m for m, top in imports(TREES[name]) if top and m.split(".")[0] in LAZY]
    assert not heavy, f"{name} imports {heavy} at the top level"


@pytest.mark.parametrize("name", [n for n in TREES if not is_command(n)])  # a command prints its data
def test_no_code_prints(name):
    calls = [node for node in ast.walk(TREES[name]) if isinstance(node, ast.Call)]
    printed = [node.lineno for node in calls if isinstance(node.func, ast.Name) and node.func.id == "print"]
    assert not printed, f"{name}: print( in lines {printed}"


@EVERY
def test_nothing_is_left_to_do_later(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    marks = re.findall(r"\b(?:TODO|FIXME|XXX|HACK|NotImplementedError)\b", text)
    assert not marks, f"{name}: {marks}"


@EVERY
def test_no_file_grows_past_five_hundred_lines(name):
    assert len((ROOT / name).read_text(encoding="utf-8").splitlines()) <= 500


@EVERY
def test_no_function_grows_past_sixty_lines(name):
    functions = [n for n in ast.walk(TREES[name]) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = [f.name for f in functions if f.end_lineno - f.body[0].lineno >= 60]  # a command's options apart
    assert not long, f"{name}: {long}"


def test_tests_are_no_packages_and_their_names_are_unique():
    tests = list((ROOT / "tests").rglob("*.py"))
    assert not [path for path in tests if path.name == "__init__.py"]
    names = [path.name for path in tests if path.name.startswith("test_")]
    assert len(names) == len(set(names)), sorted(name for name in set(names) if names.count(name) > 1)


def test_the_public_names_are_sorted_and_exist():
    import proflash

    assert list(proflash.__all__) == sorted(proflash.__all__)
    assert len(proflash.__all__) > 5
    missing = [name for name in proflash.__all__ if not hasattr(proflash, name)]
    assert not missing
