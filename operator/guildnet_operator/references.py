"""The Secrets, ConfigMaps and models that a task names, and whether it may use them. Pure.

Naming a Secret does not give access to it: its owner must allow the use by the label
`guildnet.io/use`, and for git and models also the host, by the annotation `guildnet.io/hosts`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from guildnet import labels, secrets
from guildnet.mesh import VENDOR_API, MeshSettings, is_vendor
from guildnet_operator.views import Json, SecretView

GIT = "git"
AGENT_ENV = "agent-env"
MODEL = "model"
MESH = "mesh"
CONTEXT = "context"
MODEL_KEY = "api-key"
# The keys of a mesh Secret: an auth key, a Headscale API key, or a Tailscale OAuth client.
AUTH_KEY = "auth-key"
CONTROL_KEY = "api-key"
CLIENT_ID = "client-id"
CLIENT_SECRET = "client-secret"  # noqa: S105  the name of a key
# The key of a model or mesh Secret with the authorities to trust besides the system's.
AUTHORITIES = "ca.crt"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a task is not accepted: the reason of Accepted, and a message with what to do."""

    reason: str
    message: str


def git_secrets(spec: Json) -> list[str]:
    """Names of the git Secrets, sorted."""
    return sorted({name for name, _ in _git_uses(spec)})


def config_maps(spec: Json) -> list[str]:
    """Names of the ConfigMaps given as context, sorted."""
    return sorted({c["configMap"] for c in spec.get("context", ()) if "configMap" in c})


def refusal(
    spec: Json,
    org: str,
    found: Mapping[str, SecretView],
    uses: Mapping[str, str],
    models: Mapping[str, Json],
) -> Refusal | None:
    """The first thing that a task names but may not use; None if it may use all.

    `models`: those of the org. `uses`: of each ConfigMap in the namespace, the value of its label
    `guildnet.io/use` or "".
    """
    return (
        _secret_refusal(spec, org, found)
        or _config_map_refusal(spec, uses)
        or _model_refusal(spec, org, found, models)
    )


def used_model(spec: Json, models: Mapping[str, Json]) -> Json | None:
    """The org's model that a task uses; None if it uses none."""
    used = spec.get("agent", {}).get("model")
    return models.get(used.get("use", "")) if used else None


def mesh_refusal(mesh: MeshSettings, org: str, found: Mapping[str, SecretView]) -> str:
    """Why an org's agents get no peer: its Secret may not be used, or has no credential for this
    control server. Empty if nothing is wrong. A task is accepted all the same."""
    name, keys = mesh.secret, found[mesh.secret].keys if mesh.secret in found else frozenset()
    is_client = mesh.api_secret is not None and CONTROL_KEY not in keys and CLIENT_ID in keys
    url = VENDOR_API if is_client else mesh.login_server
    hint = f"--host {secrets.entry_for(url)}"
    unmarked = _mark_refusal(name, MESH, org, found, hint=hint)
    if unmarked is not None:
        return unmarked.message
    denied = secrets.refusal(org, name, url, found[name].hosts, use=MESH)
    if denied is not None:
        return _refusal(denied).message
    set_key = f"guildnet secret set {org} {name} --use mesh {hint} --key"
    if mesh.auth_key_secret:
        return (
            "" if AUTH_KEY in keys else f"Secret {name} has no key {AUTH_KEY}: {set_key} {AUTH_KEY}"
        )
    wanted = (CLIENT_ID, CLIENT_SECRET) if is_client else (CONTROL_KEY,)
    missing = [key for key in wanted if key not in keys]
    if missing:
        return f"Secret {name} has no key {missing[0]}: {set_key} {missing[0]}"
    if is_client and not is_vendor(mesh.login_server):
        return (
            f"Secret {name} is an OAuth client of Tailscale, which makes no keys for "
            f"{mesh.login_server}: remove mesh.loginServer, or give a Headscale API key"
        )
    if not is_client and is_vendor(mesh.login_server):
        return (
            f"Secret {name} is a Headscale API key, but mesh.loginServer is Tailscale's own: set "
            f"it to your server, or give {CLIENT_ID} and {CLIENT_SECRET}"
        )
    return ""


def _model_refusal(
    spec: Json, org: str, found: Mapping[str, SecretView], models: Mapping[str, Json]
) -> Refusal | None:
    used, model = spec.get("agent", {}).get("model"), used_model(spec, models)
    if not used:
        return None
    if model is None:
        known = ", ".join(sorted(models)) or "none"
        return Refusal(
            "InvalidSpec", f"the org has no model {used.get('use', '')!r}; it has: {known}"
        )
    name, url = model["secret"], model["baseURL"]
    unreadable = secrets.url_refusal(url)
    if unreadable is not None:
        return _refusal(unreadable)
    hint = f"--host {secrets.entry_for(url)}"
    unmarked = _mark_refusal(name, MODEL, org, found, hint=hint)
    if unmarked is not None:
        return unmarked
    denied = secrets.refusal(org, name, url, found[name].hosts, use=MODEL)
    if denied is not None:
        return _refusal(denied)
    if MODEL_KEY not in found[name].keys:
        command = f"guildnet secret set {org} {name} --use model {hint}"
        return Refusal("SecretNotFound", f"Secret {name} has no key {MODEL_KEY}: {command}")
    return None


def _config_map_refusal(spec: Json, uses: Mapping[str, str]) -> Refusal | None:
    for name in config_maps(spec):
        label = f"kubectl label configmap {name} {labels.USE}={CONTEXT}, in the org's namespace"
        if name not in uses:
            return Refusal(
                "ConfigMapNotFound",
                f"ConfigMap {name} does not exist: kubectl create configmap {name} "
                f"--from-file=FOLDER, then {label}",
            )
        if uses[name] != CONTEXT:
            return Refusal("PolicyDenied", f"ConfigMap {name} is not marked as a context: {label}")
    return None


def _secret_refusal(spec: Json, org: str, found: Mapping[str, SecretView]) -> Refusal | None:
    for name, url in _git_uses(spec):
        unreadable = secrets.url_refusal(url)
        if unreadable is not None:
            return _refusal(unreadable)
        hint = f"--host {secrets.entry_for(url)}"
        unmarked = _mark_refusal(name, GIT, org, found, hint=hint)
        if unmarked is not None:
            return unmarked
        denied = secrets.refusal(org, name, url, found[name].hosts)
        if denied is not None:
            return _refusal(denied)
    for name, key in _environment_uses(spec):
        unmarked = _mark_refusal(name, AGENT_ENV, org, found, hint="")
        if unmarked is not None:
            return unmarked
        if key not in found[name].keys:
            return Refusal(
                "SecretNotFound",
                f"Secret {name} has no key {key}; it has "
                f"{', '.join(sorted(found[name].keys)) or 'none'}: set it again with that key",
            )
    return None


def _refusal(given: secrets.Refusal) -> Refusal:
    return Refusal(given.reason, f"{given.message}: {given.cure}")


def _mark_refusal(
    name: str, use: str, org: str, found: Mapping[str, SecretView], *, hint: str
) -> Refusal | None:
    command = f"guildnet secret set {org} {name} --use {use} {hint}".rstrip()
    secret = found.get(name)
    if secret is None:
        return Refusal("SecretNotFound", f"Secret {name} does not exist: {command}")
    if secret.use != use:
        given = f"is for {secret.use}" if secret.use else "is not marked for tasks"
        return Refusal(
            "PolicyDenied",
            f"Secret {name} {given}, but the task uses it for {use} "
            f"(label {labels.USE}={use}): {command}",
        )
    return None


def _git_uses(spec: Json) -> Iterator[tuple[str, str]]:
    """(Secret, URL it is used for)."""
    urls: dict[str, str] = {}
    for context in spec.get("context", ()):
        if "git" in context:
            urls[context["name"]] = context["git"]["url"]
            if "secret" in context["git"]:
                yield context["git"]["secret"], context["git"]["url"]
    wanted = spec.get("pullRequest", {})
    if "secret" in wanted and wanted["context"] in urls:
        yield wanted["secret"], urls[wanted["context"]]


def _environment_uses(spec: Json) -> Iterator[tuple[str, str]]:
    """(Secret, key)."""
    agent = spec.get("agent", {})
    for entry in agent.get("env", ()):
        if "secretKeyRef" in entry:
            yield entry["secretKeyRef"]["name"], entry["secretKeyRef"]["key"]
