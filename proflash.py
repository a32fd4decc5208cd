"""proflash: cost and capacity planning for Gemini Pro and Flash.

The front door: the public Python API, and ``main``, which joins the command groups.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING

from profiles.catalog import Catalog, load_catalog
from profiles.errors import InputError
from profiles.schema import ModelProfile
from sim.audit.result import Audit, AuditError
from sim.engine.run import simulate
from sim.experiments.plan import Plan, plan
from sim.experiments.study import StudyRun, compare, differences, study
from sim.money.bill import Bill
from sim.money.costs import bill
from sim.outcome.stats import Estimate
from sim.outcome.summary import Summary
from sim.policies import RoutingPolicy, policy
from sim.records import Records
from sim.scenario.file import load_scenario, parse_scenario, preset_names
from sim.scenario.spec import Scenario
from sim.store import load_run, save_run

if TYPE_CHECKING:
    from typer import Typer

__all__ = [
    "Audit",
    "AuditError",
    "Bill",
    "Catalog",
    "Estimate",
    "InputError",
    "ModelProfile",
    "Plan",
    "Records",
    "RoutingPolicy",
    "Scenario",
    "StudyRun",
    "Summary",
    "bill",
    "compare",
    "differences",
    "load_catalog",
    "load_run",
    "load_scenario",
    "main",
    "parse_scenario",
    "plan",
    "policy",
    "preset_names",
    "save_run",
    "simulate",
    "study",
]

FAILED, BAD_INPUT, TERMINATED = 1, 2, 143


def main() -> None:
    """The ``proflash`` command."""
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(_run())


def _run() -> int:
    try:
        _app()()  # typer itself ends with 0, 2 for a wrong call, 130 for Ctrl-C
    except InputError as error:
        return _say(error, BAD_INPUT)
    except AuditError as error:
        return _say(f"the run does not add up, so its results are withheld: {error}", FAILED)
    return 0


def _app() -> Typer:
    import typer

    import calibration.cli
    import calibration.drift_cli
    import dashboard.cli
    import profiles.cli
    import profiles.price_cli
    import proflash_backtest_cli
    import sim.commands.cli
    import sim.commands.compare_cli
    import sim.commands.limits_cli
    import sim.commands.money_cli
    import sim.commands.resilience_cli
    import sim.commands.workload_cli

    app = typer.Typer(
        name="proflash",
        help="Cost and capacity planning for Gemini Pro and Flash.",
        no_args_is_help=True,
        pretty_exceptions_show_locals=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.add_typer(sim.commands.cli.app)
    app.add_typer(calibration.cli.app)
    app.add_typer(calibration.drift_cli.app)
    app.add_typer(proflash_backtest_cli.app)
    app.add_typer(dashboard.cli.app)
    app.add_typer(sim.commands.compare_cli.app)
    app.add_typer(sim.commands.limits_cli.app)
    app.add_typer(sim.commands.money_cli.app)
    app.add_typer(sim.commands.resilience_cli.app)
    app.add_typer(profiles.price_cli.app)
    app.add_typer(profiles.cli.app, name="profiles")
    app.add_typer(sim.commands.workload_cli.app, name="workload")
    return app


def _say(message: object, code: int) -> int:
    sys.stderr.write(f"proflash: {message}\n")
    return code


def _terminate(signum: int, frame: FrameType | None) -> None:
    sys.exit(TERMINATED)


if __name__ == "__main__":
    main()
