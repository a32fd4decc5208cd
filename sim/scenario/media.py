"""What a request carries beside text (pictures, films, sound, pages), and which tools its answer uses."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from profiles.base import Channel
from sim.distributions import Distribution, Positive, Strict

MediaKind = Literal["image", "video", "audio", "pdf"]
ToolKind = Literal["search", "maps", "embedding"]
Extra = MediaKind | ToolKind
Pixels = Annotated[int, Field(strict=True, ge=1, le=100_000)]

MEDIA_COLUMNS: dict[MediaKind, str] = {  # kind: its name among the columns of a run's records
    "image": "images",
    "video": "video_ms",
    "audio": "audio_ms",
    "pdf": "pdf_pages",
}
TOOL_COLUMNS: dict[ToolKind, str] = {
    "search": "searches",
    "maps": "maps_queries",
    "embedding": "embedding_tokens",
}


class Media(Strict):
    """How many and how long, a request; each model counts them as tokens by the rules of its generation.

    ``image_px`` (width, height) is for generations that count tiles (2.x), ``resolution`` for those that
    count levels (3.x; left out: the model's own); ``frames_per_s`` for those that count frames. The sound of
    a film counts apart: state it as ``audio_s``. Lengths are kept to the millisecond.
    """

    images: Distribution | None = None
    image_px: tuple[Pixels, Pixels] | None = None
    resolution: Literal["low", "medium", "high"] | None = None
    video_s: Distribution | None = None
    frames_per_s: Positive | None = None
    audio_s: Distribution | None = None
    pdf_pages: Distribution | None = None

    @model_validator(mode="after")
    def _of_something(self) -> Self:
        if not self.laws:
            raise ValueError("give images, video_s, audio_s or pdf_pages")
        return self

    @property
    def laws(self) -> dict[MediaKind, Distribution]:
        """The laws that are stated, by kind."""
        given: dict[MediaKind, Distribution | None] = {
            "image": self.images,
            "video": self.video_s,
            "audio": self.audio_s,
            "pdf": self.pdf_pages,
        }
        return {kind: law for kind, law in given.items() if law is not None}


class Embedding(Strict):
    """An embedding of a request (its question, say), by the token at the embedding model's price."""

    model: str
    tokens: Distribution
    channel: Channel = "vertex"
    service: Literal["standard", "batch"] = "standard"


class Tools(Strict):
    """What the provider's tools are asked for, a call: each has a fee beside the tokens.

    A model bills searches by the query or by the prompt that makes any, as its price rows say. A request is
    embedded once, however often it is tried; the time is part of the class's `retrieval_s`.
    """

    searches: Distribution | None = None
    maps: Distribution | None = None
    embedding: Embedding | None = None

    @model_validator(mode="after")
    def _of_something(self) -> Self:
        if not self.laws:
            raise ValueError("give searches, maps or embedding")
        return self

    @property
    def laws(self) -> dict[ToolKind, Distribution]:
        """The laws that are stated, by kind."""
        embedded = None if self.embedding is None else self.embedding.tokens
        given: dict[ToolKind, Distribution | None] = {
            "search": self.searches,
            "maps": self.maps,
            "embedding": embedded,
        }
        return {kind: law for kind, law in given.items() if law is not None}
