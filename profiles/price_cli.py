"""``price`` and ``gsu``: what one request costs, and what provisioned throughput it would take."""

from __future__ import annotations

from datetime import date
from fractions import Fraction
from typing import Annotated, Any, get_args

import typer
from rich.markup import escape
from rich.table import Table

from profiles.base import Channel
from profiles.cli import AsJson, OnDay, Overlays, catalog_of, console, day_of, print_json
from profiles.errors import InputError, nearest
from profiles.gsu import TERMS as ORDER_TERMS
from profiles.gsu import (
    BreakEven,
    Buyer,
    Month,
    break_even,
    budget,
    burn_per_request,
    gsus_needed,
    months_ahead,
)
from profiles.money import usd
from profiles.offers import Region
from profiles.platform import Platform
from profiles.prices import Service
from profiles.pricing import Quote, QuoteLine, Usage, per_million, quote
from profiles.schema import Tokenisation
from profiles.tokenise import Resolution, Size, audio_rate, image_tokens, pdf_tokens, video_rate

app = typer.Typer(help="Prices of single requests and of provisioned throughput.", no_args_is_help=True)
price_app = app  # the name under which the front door may join it

ModelName = Annotated[
    str, typer.Option("--model", help="A model, an alias such as pro or flash, or an API id.")
]
ChannelName = Annotated[str, typer.Option("--channel", help="gemini_api or vertex.")]
ServiceName = Annotated[str, typer.Option("--service", help="standard, batch, flex, priority or free.")]
RegionName = Annotated[str, typer.Option("--region", help="global or regional.")]
_TOOLS = ("search_query", "grounded_prompt", "maps_query")


def _choice(given: str, valid: tuple[str, ...], what: str) -> Any:  # noqa: ANN401 - one of the literals
    if given not in valid:
        raise InputError(f"--{what}: {given!r}{nearest(given, valid)}; expected one of {', '.join(valid)}.")
    return given


def _size(text: str | None) -> Size | None:
    if text is None:
        return None
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdigit() for part in parts):
        raise InputError(f"--image-size: expected WIDTHxHEIGHT in pixels such as 1024x768, got {text!r}.")
    return int(parts[0]), int(parts[1])


def _media(
    rules: Tokenisation | None,
    model: str,
    images: int,
    size: str | None,
    resolution: Resolution | None,
    video_s: float,
    fps: float | None,
    audio_s: float,
    pdf_pages: int,
) -> dict[str, int]:
    """Media as tokens by the rules of the model's generation."""
    if not (images or video_s or audio_s or pdf_pages):
        return {}
    if rules is None:
        raise InputError(f"{model}: how media count as tokens is not known; give token counts.")
    return {
        "image": image_tokens(rules, images, size=_size(size), resolution=resolution),
        "video": video_rate(rules, frames_per_s=fps, resolution=resolution).tokens(video_s),
        "audio": audio_rate(rules).tokens(audio_s),
        "pdf": pdf_tokens(rules, pdf_pages),
    }


@app.command("price")
def price_command(
    model: ModelName,
    input_tokens: Annotated[
        int, typer.Option("--input", min=0, help="Text of the prompt, cached part included.")
    ] = 0,
    cached: Annotated[int, typer.Option(min=0, help="Part of --input read from the cache.")] = 0,
    thinking: Annotated[int, typer.Option(min=0, help="Thinking tokens; billed as output.")] = 0,
    output: Annotated[int, typer.Option(min=0, help="Answer tokens.")] = 0,
    images: Annotated[int, typer.Option(min=0, help="Images in the prompt.")] = 0,
    image_size: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT in pixels (2.x counts tiles).")] = None,
    resolution: Annotated[
        str | None, typer.Option(help="low, medium or high, of images and video (3.x).")
    ] = None,
    video_s: Annotated[
        float, typer.Option("--video-s", min=0, help="Seconds of film, without its sound.")
    ] = 0,
    fps: Annotated[float | None, typer.Option(min=0.001, help="Frames a second of film (3.x).")] = None,
    audio_s: Annotated[float, typer.Option("--audio-s", min=0, help="Seconds of sound.")] = 0,
    pdf_pages: Annotated[int, typer.Option(min=0, help="Pages of PDF documents.")] = 0,
    output_audio: Annotated[int, typer.Option(min=0, help="Speech tokens of a Live answer.")] = 0,
    cache_tokens: Annotated[int, typer.Option(min=0, help="Tokens kept in an explicit cache.")] = 0,
    cache_hours: Annotated[float, typer.Option(min=0, help="Hours they are kept.")] = 1.0,
    searches: Annotated[int, typer.Option(min=0, help="Search queries that the request makes.")] = 0,
    maps: Annotated[int, typer.Option(min=0, help="Requests grounded in Maps.")] = 0,
    free_used: Annotated[
        int | None,
        typer.Option(min=0, help="Searches of the period so far; default: the allowance is used up."),
    ] = None,
    channel: ChannelName = "vertex",
    service: ServiceName = "standard",
    region: RegionName = "global",
    on: OnDay = None,
    profiles: Overlays = None,
    tier: Annotated[
        str | None, typer.Option(help="Developer API tier: requests until its spend caps.")
    ] = None,
    historical: Annotated[bool, typer.Option(help="Price a retired model at a past date.")] = False,
    allow_unknown: Annotated[bool, typer.Option(help="Show unknown prices instead of refusing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Price one request: unit, quantity, price, amount, and the row each price comes from."""
    catalog, day = catalog_of(profiles), day_of(on)
    sold = catalog.sold(model, day)
    level = None if resolution is None else _choice(resolution, get_args(Resolution), "resolution")
    media = _media(sold.tokenisation, sold.name, images, image_size, level, video_s, fps, audio_s, pdf_pages)
    usage = Usage(
        input=input_tokens,
        cached=cached,
        thinking=thinking,
        output=output,
        output_audio=output_audio,
        cache_token_hours=cache_tokens * Fraction(repr(cache_hours)),
        search_queries=searches,
        grounded_prompts=1 if searches else 0,
        maps_queries=maps,
        **media,
    )
    found = quote(
        sold,
        usage,
        on=day,
        channel=_choice(channel, get_args(Channel), "channel"),
        service=_choice(service, get_args(Service), "service"),
        region=_choice(region, get_args(Region), "region"),
        terms=catalog.terms,
        free_used=None if free_used is None else dict.fromkeys(_TOOLS[:2], free_used),
        historical=historical,
        allow_unknown=allow_unknown,
    )
    caps = _caps(catalog.platform, tier, found)
    if as_json:
        print_json(quote_document(found) | ({"caps": caps} if tier else {}))
    else:
        _print_quote(found, caps)


def _caps(platform: Platform, tier: str | None, found: Quote) -> dict[str, int | None]:
    """How many such requests fit under the spend caps of a Developer API tier; None: no such cap."""
    if tier is None:
        return {}
    if found.channel != "gemini_api":
        raise InputError("--tier: spend caps are those of the Developer API; add --channel gemini_api.")
    row = platform.api_tier(tier)  # type: ignore[arg-type]
    caps = {"10 minutes": row.spend_per_10_min_usd, "month": row.billing_cap_usd}
    cost = found.total_pusd
    return {
        name: None if cap is None or not cost else int(Fraction(cap) * 10**12 / cost)
        for name, cap in caps.items()
    }


def quote_document(found: Quote) -> dict[str, Any]:
    """A quote as plain data. Amounts are decimal USD as text, exact; null is unknown."""
    return {
        "schema": "proflash/price/v1",
        "model": found.model,
        "channel": found.channel,
        "service": found.service,
        "region": found.region,
        "date": found.on.isoformat(),
        "prompt_tokens": found.prompt_tokens,
        "lines": [_line_document(line) for line in found.lines],
        "total_usd": _exact_usd(found.total_pusd),
        "list_total_usd": _exact_usd(found.list_pusd),
        "known_usd": _exact_usd(found.known_pusd),
        "unknown": list(found.unknown),
    }


def _line_document(line: QuoteLine) -> dict[str, Any]:
    price = line.price
    quantity = int(line.quantity) if line.quantity == int(line.quantity) else float(line.quantity)
    return {
        "what": line.what,
        "unit": line.unit,
        "quantity": quantity,
        "usd_per_million": None if price.pusd is None else f"{per_million(price.pusd).normalize():f}",
        "list_usd_per_million": None
        if price.list_pusd is None
        else f"{per_million(price.list_pusd).normalize():f}",
        "amount_usd": _exact_usd(line.amount_pusd),
        "source": price.source,
        "as_of": price.as_of,
        "grade": price.grade,
        "note": price.note,
    }


def _exact_usd(pusd: int | None) -> str | None:
    return None if pusd is None else f"{usd(pusd):f}"


def _print_quote(found: Quote, caps: dict[str, int | None]) -> None:
    out = console()
    where = f"{found.channel} {found.service}, {found.region}"
    out.print(f"[bold]{found.model}[/bold] · {where} · prices of {found.on}", highlight=False)
    own = any(line.price.pusd != line.price.list_pusd for line in found.lines)
    table = Table()
    for head in ("what", "unit", "quantity", "USD per 1M", *(("list",) if own else ()), "USD"):
        table.add_column(head, justify="left" if head in ("what", "unit") else "right", no_wrap=True)
    for head in ("source", "as of", "grade", "note"):
        table.add_column(head, overflow="fold")
    for line in found.lines:
        table.add_row(*_cells(line, own))
    total = found.total_pusd
    listed = f" (list: {_fixed(found.list_pusd)} USD)" if own else ""
    out.print(table)
    shown = (
        f"{_fixed(total)} USD{listed}"
        if total is not None
        else f"unknown; known part {_fixed(found.known_pusd)} USD"
    )
    out.print(f"total {shown}", highlight=False)
    for name, most in caps.items():
        count = "no cap is stated" if most is None else f"{most:,} such requests"
        out.print(f"spend cap of a {name}: {count}", highlight=False)


def _cells(line: QuoteLine, own: bool) -> list[str]:
    price = line.price
    listed = [_rate(price.list_pusd)] if own else []
    return [
        line.what.replace("_", " "),
        line.unit,
        f"{line.quantity:,}" if isinstance(line.quantity, int) else f"{float(line.quantity):,g}",
        _rate(price.pusd),
        *listed,
        _fixed(line.amount_pusd),
        price.source,
        price.as_of,
        price.grade,
        escape(price.note),
    ]


def _rate(pusd: int | None) -> str:
    return "unknown" if pusd is None else f"{per_million(pusd).normalize():f}"


def _fixed(pusd: int | None) -> str:
    """Exact USD, at least two decimals, no trailing zeros."""
    if pusd is None:
        return "unknown"
    text = f"{usd(pusd):f}".rstrip("0")
    whole, _, decimals = text.partition(".")
    return f"{int(whole):,}.{decimals:0<2}"


# --- provisioned throughput -------------------------------------------------------------------


@app.command("gsu")
def gsu_command(
    model: ModelName,
    qps: Annotated[float, typer.Option(min=0.000001, help="Requests a second.")],
    input_tokens: Annotated[
        int, typer.Option("--input", min=0, help="Text tokens, cached part included.")
    ] = 0,
    cached: Annotated[int, typer.Option(min=0)] = 0,
    image: Annotated[int, typer.Option(min=0, help="Image tokens.")] = 0,
    video: Annotated[int, typer.Option(min=0, help="Video tokens.")] = 0,
    audio: Annotated[int, typer.Option(min=0, help="Audio tokens.")] = 0,
    thinking: Annotated[int, typer.Option(min=0)] = 0,
    output: Annotated[int, typer.Option(min=0)] = 0,
    output_audio: Annotated[int, typer.Option(min=0, help="Speech tokens (Live).")] = 0,
    months: Annotated[int, typer.Option(min=0, max=60, help="Months ahead to compare.")] = 6,
    region: RegionName = "global",
    on: OnDay = None,
    profiles: Overlays = None,
    as_json: AsJson = False,
) -> None:
    """GSUs for a stream of equal requests, their window, and when a reservation pays, term by term."""
    catalog, day = catalog_of(profiles), day_of(on)
    sold = catalog.sold(model, day)
    usage = Usage(
        input=input_tokens,
        cached=cached,
        image=image,
        video=video,
        audio=audio,
        thinking=thinking,
        output=output,
        output_audio=output_audio,
    )
    place = _choice(region, get_args(Region), "region")
    buyer = Buyer(sold, usage, catalog.platform.reservation, region=place, terms=catalog.terms)
    document = gsu_document(buyer, qps, day, months)
    if as_json:
        print_json(document)
    else:
        _print_gsu(document)


def gsu_document(buyer: Buyer, qps: float, on: date, months: int) -> dict[str, Any]:
    """Everything ``gsu`` says, as plain data."""
    buyer.model.require_sold(on, buyer.channel)
    throughput = buyer.model.require_throughput()
    burn = burn_per_request(throughput, buyer.usage)
    gsus = gsus_needed(throughput, buyer.usage, qps)
    window = budget(throughput, gsus)
    load = float(Fraction(repr(qps)) * burn / Fraction(repr(throughput.tokens_per_s_per_gsu)) / gsus)
    return {
        "schema": "proflash/gsu/v1",
        "model": buyer.model.name,
        "date": on.isoformat(),
        "qps": qps,
        "burn_per_request": float(burn),
        "tokens_per_s_per_gsu": throughput.tokens_per_s_per_gsu,
        "gsus": gsus,
        "min_gsu": throughput.min_gsu,
        "load": load,
        "window_s": window.window.window_s,
        "window_tokens": float(window.tokens),
        "window_grade": window.window.grade,
        "window_note": window.window.note,
        "cancelable": buyer.reservation.cancelable,
        "terms": [_term(break_even(buyer, term, on), gsus, load) for term in ORDER_TERMS],
        "months": [_month(month, gsus, load) for month in months_ahead(buyer, on, months)],
    }


def _term(found: BreakEven, gsus: int, load: float) -> dict[str, Any]:
    value = found.value_pusd
    return {
        "term": found.term,
        "hours": found.hours,
        "fee_usd": float(usd(gsus * found.fee_pusd)),
        "credit_usd": float(usd(gsus * found.credit_pusd)),
        "net_usd": float(usd(gsus * found.net_pusd)),
        "payg_usd": None if value is None else float(usd(value)) * gsus * load,
        "break_even_utilisation": found.utilisation,
        "break_even_without_credit": found.list_utilisation,
        "note": found.note,
    }


def _month(month: Month, gsus: int, load: float) -> dict[str, Any]:
    terms = [_term(found, gsus, load) for found in month.terms]
    return {"from": month.first.isoformat(), "terms": terms, "notes": list(month.notes)}


def _print_gsu(found: dict[str, Any]) -> None:
    out = console()
    out.print(
        f"[bold]{found['gsus']} GSU[/bold] of {found['model']} for {found['qps']:g} requests a second",
        highlight=False,
    )
    burn, pace = found["burn_per_request"], found["tokens_per_s_per_gsu"]
    out.print(f"{burn:,g} reserved tokens a request; {pace:,g} tokens/s a GSU", highlight=False)
    out.print(f"load {found['load']:.1%} of the order (at least {found['min_gsu']} GSU)", highlight=False)
    note = f": {found['window_note']}" if found["window_note"] else ""
    window = f"window {found['window_s']:g} s, {found['window_tokens']:,.0f} reserved tokens"
    out.print(f"{window} ({found['window_grade']}{note})", highlight=False)
    if not found["cancelable"]:
        out.print("An order cannot be cancelled and is charged even if the model ends.", highlight=False)
    out.print(_terms_table(found))
    if found["months"]:
        out.print(_months_table(found["months"]))


def _terms_table(found: dict[str, Any]) -> Table:
    table = Table(title=f"730 hours at the prices of {found['date']}, USD", title_justify="left")
    for head in ("term", "fee", "credit", "net", "as you go", "pays above", "without credit"):
        table.add_column(head, justify="left" if head == "term" else "right")
    for row in found["terms"]:
        table.add_row(
            row["term"].replace("_", " "),
            *(f"{row[name]:,.0f}" for name in ("fee_usd", "credit_usd", "net_usd")),
            "unknown" if row["payg_usd"] is None else f"{row['payg_usd']:,.0f}",
            _share(row["break_even_utilisation"]),
            _share(row["break_even_without_credit"]),
        )
    return table


def _months_table(months: list[dict[str, Any]]) -> Table:
    table = Table(title="Pays above this utilisation, month by month", title_justify="left")
    for head in ("from", *(row["term"].replace("_", " ") for row in months[0]["terms"])):
        table.add_column(head, justify="left" if head == "from" else "right", no_wrap=True)
    table.add_column("what changes", overflow="fold")
    for month in months:
        shares = [_share(row["break_even_utilisation"]) for row in month["terms"]]
        table.add_row(month["from"], *shares, escape("; ".join(month["notes"])))
    return table


def _share(value: float | None) -> str:
    """A share; above 100 % the reservation never pays."""
    if value is None:
        return "unknown"
    return f"{value:.1%}" if value <= 1 else f"never ({value:.1%})"
