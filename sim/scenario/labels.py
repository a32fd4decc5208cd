"""What kind of task a request is, how its data must be handled, where its user is."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import BeforeValidator, Field

from profiles.quality import TaskType
from sim.distributions import Positive, Strict

Governance = Literal["public", "internal", "confidential", "regulated"]
UserRegion = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,63}$")]

GOVERNANCE: tuple[Governance, ...] = get_args(Governance)
LABELS = ("task_type", "governance", "region")  # the words a class may state about its requests


def _mix(given: object) -> object:
    """One word is a mix of one."""
    return {given: 1.0} if isinstance(given, str) else given


TaskTypes = Annotated[
    dict[TaskType, Positive],
    Field(min_length=1),
    BeforeValidator(_mix, json_schema_input_type=TaskType | dict[TaskType, Positive]),
]
Governances = Annotated[
    dict[Governance, Positive],
    Field(min_length=1),
    BeforeValidator(_mix, json_schema_input_type=Governance | dict[Governance, Positive]),
]
UserRegions = Annotated[
    dict[UserRegion, Positive],
    Field(min_length=1),
    BeforeValidator(_mix, json_schema_input_type=UserRegion | dict[UserRegion, Positive]),
]


class Handling(Strict):
    """Where data of one governance class may be sent; None: anywhere."""

    channels: tuple[Literal["gemini_api", "vertex"], ...] | None = None
    regions: tuple[Literal["global", "regional"], ...] | None = None

    def allows(self, channel: str, region: str) -> bool:
        """Whether an endpoint on ``channel`` that processes in ``region`` may have it."""
        return (self.channels is None or channel in self.channels) and (
            self.regions is None or region in self.regions
        )
