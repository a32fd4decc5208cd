"""Shipped presets, cut short, run once, and boiled down to a few numbers and a fingerprint.

``scripts/accept-golden`` writes what is found here to ``tests/golden/<preset>.json``.

Bytes depend on the vector instructions numpy picks for exp and log: another processor, another last
bit. So the presets are observed by a child interpreter whose numpy is held to what every x86-64 has.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np

from profiles.catalog import load_catalog
from sim.engine.run import simulate
from sim.money.costs import bill
from sim.records import Lane, Outcome
from sim.scenario.file import load_scenario

HERE = Path(__file__).parent
PRESETS = {  # seconds of each that are run; those that replay a log which is not shipped are left out
    "azure_chat_like": 600.0,
    "azure_code_like": 600.0,
    "bad_afternoon": 4_200.0,
    "bank": 1_800.0,
    "code_agent": 7_200.0,
    "code_chat": 3_600.0,
    "code_completion": 1_800.0,
    "coding_agent_like": 7_200.0,
    "contact_centre": 900.0,
    "deep_document": 7_200.0,
    "enterprise_day": 900.0,
    "founding_pair_2025": 1_800.0,
    "help_desk": 1_800.0,
    "instances_autoscaled": 3_600.0,
    "instances_memory": 600.0,
    "insurer": 900.0,
    "json_extract": 1_800.0,
    "launch_day": 900.0,
    "mooncake_like": 300.0,
    "multimodal": 3_600.0,
    "nightly_batch": 1_800.0,
    "own_instances": 900.0,
    "parallel_queries": 1_800.0,
    "provisioned_flash": 900.0,
    "quotas": 3_600.0,
    "rag_like": 3_600.0,
    "rag_qa": 3_600.0,
    "retry_storm": 900.0,
    "service_desk": 900.0,
    "shared_machine": 3_600.0,
    "software_firm": 3_600.0,
    "support_chat": 3_600.0,
    "support_conversations": 3_600.0,
    "switch_over": 7_200.0,
    "textbook_mmc": 1_000.0,
    "tool_agent": 7_200.0,
    "unused_reservation": 3_600.0,
    "verified_desk": 600.0,
    "voice_calls": 900.0,
    "workspace_assistant": 1_800.0,
}


PLAIN = "X86_V3 X86_V4 AVX512_ICL AVX512_SPR"  # the sets numpy 2.4 may pick from while it runs


def observe_all(presets=tuple(PRESETS)):
    """The documents of the presets, by name, from a child interpreter without wide vector instructions."""
    root = str(HERE.parents[1])
    path = os.pathsep.join([root, os.environ["PYTHONPATH"]] if "PYTHONPATH" in os.environ else [root])
    environment = os.environ | {"NPY_DISABLE_CPU_FEATURES": PLAIN, "PYTHONPATH": path}
    environment.pop("COVERAGE_PROCESS_START", None)
    command = [sys.executable, str(Path(__file__)), "--observe", *presets]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def observe(preset):
    """The document of one preset: numbers, fingerprint, and the versions they were made with."""
    scenario = load_scenario(preset, [f"duration_s={PRESETS[preset]}"])
    catalog = load_catalog(*map(Path, scenario.profiles))
    records = simulate(scenario, 0, catalog)
    return {
        "preset": preset,
        "duration_s": PRESETS[preset],
        "numbers": numbers(records, bill(records, scenario, catalog)),
        "fingerprint": fingerprint(records),
        "made_with": versions(),
    }


def versions():
    """What the bytes may depend on."""
    return {"numpy": np.__version__, "machine": platform.machine()}


def numbers(records, invoice):
    """Headline figures; seconds, tokens, picodollars."""
    requests, attempts, load = records.requests, records.attempts, records.workload
    served = requests.outcome == Outcome.SERVED
    spent_s = np.sort((requests.end_s - load.arrival_s)[served])
    met = [Outcome(o) for o in np.unique(requests.outcome)]
    outcomes = {o.name.lower(): int((requests.outcome == o).sum()) for o in met}
    tokens = {
        name: int(getattr(attempts, name).sum(dtype=np.int64))
        for name in ("input_tokens", "cached_tokens", "thinking_tokens", "output_tokens")
    }
    return {
        "requests": len(load),
        "attempts": len(attempts),
        **outcomes,
        "spilled": int((attempts.lane == Lane.SPILL).sum()),
        **tokens,
        "mean_e2e_s": float(spent_s.mean()),
        "p95_e2e_s": float(spent_s[int(np.ceil(0.95 * len(spent_s))) - 1]),
        "mean_ttft_s": float((requests.first_s - load.arrival_s)[served].mean()),
        "busy_s": float(sum(station.busy_integral for station in records.stations)),
        "peak_in_system": max(station.peak_in_system for station in records.stations),
        "cost_pusd": invoice.total_pusd,
    }


def fingerprint(records):
    """SHA-256 over names, types and bytes of all columns of the outcome."""
    digest = hashlib.sha256()
    for table in (records.requests, records.attempts):
        for name in table.__dataclass_fields__:
            column = np.ascontiguousarray(getattr(table, name))
            digest.update(f"{name} {column.dtype.str} {len(column)}".encode() + column.tobytes())
    return digest.hexdigest()


def accepted(preset):
    """What was accepted last."""
    return json.loads((HERE / f"{preset}.json").read_text(encoding="utf-8"))


def main():
    """Write the documents of the named presets, or of all."""
    parser = argparse.ArgumentParser(prog="scripts/accept-golden", description=__doc__)
    parser.add_argument("presets", nargs="*", help=f"default: all of {', '.join(PRESETS)}")
    parser.add_argument("--accept", action="store_true", help="write; without it only differences are shown")
    parser.add_argument(
        "--observe", action="store_true", help="print the documents, of this very interpreter"
    )
    given = parser.parse_args()
    chosen = given.presets or tuple(PRESETS)
    if given.observe:
        print(json.dumps({preset: observe(preset) for preset in chosen}))
        return 0
    for preset, found in observe_all(chosen).items():
        path = HERE / f"{preset}.json"
        before = accepted(preset) if path.exists() else {"numbers": {}, "fingerprint": ""}
        for name, value in found["numbers"].items():
            if before["numbers"].get(name) != value:
                print(f"{preset}: {name} {before['numbers'].get(name)} -> {value}")
        if before["fingerprint"] != found["fingerprint"]:
            print(f"{preset}: another fingerprint")
        if given.accept:
            path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
