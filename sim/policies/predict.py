"""What a router may predict of a call: from published prices and usual speeds, never from the truth."""

from __future__ import annotations

import math

from sim.policies.view import EndpointView, Request


def fits(request: Request, view: EndpointView) -> bool:
    """Whether the endpoint's model can take the request: window, output cap and modalities."""
    facts, needs = view.facts, request.spec.needs
    window = math.inf if facts.context_tokens is None else facts.context_tokens
    cap = math.inf if facts.max_output_tokens is None else facts.max_output_tokens
    prompt = max(view.prompt_tokens(request), needs.context_tokens or 0)
    enough = prompt + request.max_output_tokens <= window and request.max_output_tokens <= cap
    return enough and facts.modalities.issuperset(needs.modalities)


def ttft_s(request: Request, view: EndpointView) -> float:
    """Seconds to the first answer token of a usual call: the wait in the queue, prefill, thinking."""
    return _wait_s(request, view) + _first_s(request, view)


def e2e_s(request: Request, view: EndpointView) -> float:
    """Seconds to the last token of a usual call."""
    return _wait_s(request, view) + _first_s(request, view) + _decode_s(request, view)


def pusd(request: Request, view: EndpointView) -> float:
    """List price of a usual call in picodollars; infinite where it is not known.

    The prompt is priced as uncached: what a cache will hold is not known before the call.
    """
    rates, typical = view.facts.rates, view.facts.typical
    if rates is None or typical is None:
        return math.inf
    prompt, audio = view.prompt_tokens(request), view.audio_tokens(request)
    card = rates.for_prompt(prompt)
    sound = card.input if card.input_audio is None else card.input_audio
    hidden = typical.thinking_tokens(request.spec.thinking_level)
    answer = (request.expected_output_tokens + hidden) * card.output
    return (prompt - audio) * card.input + audio * sound + answer


def meets_slo(request: Request, view: EndpointView) -> bool:
    """Whether a usual call would stay inside every bound of the request's class."""
    slo, typical = request.spec.slo, view.facts.typical
    found = (
        (slo.ttft_s, ttft_s(request, view)),
        (slo.e2e_s, e2e_s(request, view)),
        (slo.tpot_s, math.inf if typical is None else typical.per_output_token_s),
    )
    return all(bound is None or seconds <= bound for bound, seconds in found)


def _first_s(request: Request, view: EndpointView) -> float:
    typical = view.facts.typical
    if typical is None:
        return math.inf
    hidden = typical.thinking_tokens(request.spec.thinking_level)
    return (
        typical.base_s
        + view.prompt_tokens(request) * typical.per_input_token_s
        + hidden * typical.per_output_token_s
    )


def _decode_s(request: Request, view: EndpointView) -> float:
    typical = view.facts.typical
    if typical is None:
        return math.inf
    more = max(request.expected_output_tokens - typical.first_chunk_tokens, 0.0)
    return more * typical.per_output_token_s


def _wait_s(request: Request, view: EndpointView) -> float:
    """The queue ahead, each call of it as long as this one would be."""
    if not view.queue_length:
        return 0.0
    return view.queue_length / view.servers * (_first_s(request, view) + _decode_s(request, view))
