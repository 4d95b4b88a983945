"""Models, presets and budgets: what an org offers, what a task uses, and what must fit. Pure.

How an agent is called belongs to the agent's own presets; here is only what people can write.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

SHELL = "shell"
#: The presets, and the wire protocols that each can speak, the preferred one first.
PRESET_PROTOCOLS: Mapping[str, tuple[str, ...]] = {
    SHELL: (),
    "claude-code": ("anthropic",),
    "codex": ("openai-responses",),
    "pi": ("openai-chat", "anthropic", "openai-responses"),
    "gemini": ("gemini",),
    "opencode": ("openai-chat",),
}
PROTOCOLS = ("anthropic", "openai-chat", "openai-responses", "gemini")

Json = Mapping[str, Any]


def protocols_of(model: Json) -> tuple[str, ...]:
    """The protocols of one of an org's models: one word or a list in the file."""
    given = model["protocol"]
    return (given,) if isinstance(given, str) else tuple(given)


def with_model(agent: Json, own: Json, models: Mapping[str, Json]) -> dict[str, Any]:
    """The merged settings with what they leave to the org's models, and in one notation.

    `own` is what the task itself wrote. A preset that needs a model uses the first that is
    offered; without a name the first of its names is used, also where the org's default name is
    of another model. What cannot be used is left as it is, for `model_problems`.
    """
    settings = dict(agent)
    preset = settings.get("preset", SHELL)
    if preset != SHELL:
        settings.pop("command", None)
    if "model" in settings or PRESET_PROTOCOLS.get(preset):
        chosen = dict(settings.get("model", {}))
        use = str(chosen.get("use") or next(iter(models), ""))
        if use in models:
            names = models[use]["names"]
            name = chosen.get("name", names[0])
            if name not in names and "name" not in own.get("model", {}):
                name = names[0]
            settings["model"] = {"use": use, "name": name}
    if "model" not in settings:
        settings.pop("budget", None)
    elif "budget" in settings:
        settings["budget"] = _plain_numbers(settings["budget"])
    return settings


def model_problems(agent: Json, own: Json, models: Mapping[str, Json]) -> Iterator[str]:
    """What does not fit: `agent` as `with_model` returns it, `own` what the task itself wrote."""
    preset = agent.get("preset", SHELL)
    protocols = PRESET_PROTOCOLS.get(preset, ())
    if preset != SHELL and "command" in own:
        yield f"spec.agent.command: preset {preset} runs its own program; leave the command out"
    used = agent.get("model")
    if used is None:
        if protocols:
            yield (
                f"spec.agent.preset: {preset} needs a model that speaks {_either(protocols)}, and "
                "the org has none; add one to spec.models in the org's file"
            )
        if "budget" in own:
            yield "spec.agent.budget: without spec.agent.model nothing is counted; name a model"
        return
    model = models.get(used.get("use", ""))
    if model is None:
        known = ", ".join(models) or "none"
        named = used.get("use")
        what = f"{named!r} is not a model of the org" if named else "the org has no model"
        yield f"spec.agent.model: {what}; it has: {known}"
        return
    yield from _misfits(agent, model)


def _misfits(agent: Json, model: Json) -> Iterator[str]:
    preset, used = agent.get("preset", SHELL), agent["model"]
    protocols, offered = PRESET_PROTOCOLS.get(preset, ()), protocols_of(model)
    if protocols and not set(protocols) & set(offered):
        yield (
            f"spec.agent.model: preset {preset} speaks {_either(protocols)}, and model "
            f"{used['use']} speaks {_either(offered)}"
        )
    if used["name"] not in model["names"]:
        yield (
            f"spec.agent.model.name: {used['name']!r} is not offered by model {used['use']}; it "
            f"has: {', '.join(model['names'])}"
        )
    elif "usd" in agent.get("budget", {}) and used["name"] not in model.get("prices", {}):
        yield (
            f"spec.agent.budget.usd: {used['name']} has no price; add it to "
            f"spec.models.{used['use']}.prices in the org's file"
        )


def org_model_problems(spec: Json) -> Iterator[tuple[tuple[str, ...], str]]:
    """(place below spec, message) of what an org's file says of models that cannot be."""
    models = spec.get("models", {})
    default = spec.get("agent", {}).get("model", {})
    use = default.get("use", next(iter(models), None))
    if default and use not in models:
        known = ", ".join(models) or "none"
        yield ("agent", "model"), f"{use!r} is not one of the org's models; it has: {known}"
    elif "name" in default and default["name"] not in models[use]["names"]:
        known = ", ".join(models[use]["names"])
        yield ("agent", "model", "name"), f"{default['name']!r} is not offered by {use}: {known}"
    for name, model in models.items():
        for priced in model.get("prices", {}):
            if priced not in model["names"]:
                place = ("models", name, "prices", priced)
                yield place, f"{priced!r} is not one of its names: {', '.join(model['names'])}"
    if "usdPerDay" in spec.get("limits", {}).get("budget", {}):
        for name, model in models.items():
            unpriced = [known for known in model["names"] if known not in model.get("prices", {})]
            if unpriced:
                yield (
                    ("limits", "budget", "usdPerDay"),
                    f"model {name} has no price for {', '.join(unpriced)}, so what it costs is "
                    f"not counted; add it to spec.models.{name}.prices",
                )


def _either(words: tuple[str, ...]) -> str:
    return " or ".join(words)


def _plain_numbers(budget: Json) -> dict[str, Any]:
    """An API server writes 3.0 as 3; so do we, or every pass would see a difference."""
    return {
        name: int(value) if isinstance(value, float) and value.is_integer() else value
        for name, value in budget.items()
    }
