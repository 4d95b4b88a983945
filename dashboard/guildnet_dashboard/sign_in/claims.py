"""From the claims of a person to the orgs that they see. Pure, except for reading the map file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from guildnet.errors import ConfigurationError, InvalidResource
from guildnet.loading import MAX_FILE_BYTES
from guildnet.names import is_name
from guildnet.text import clean_text
from guildnet.yaml_reader import line_of, parse_yaml
from guildnet_dashboard.sign_in.errors import SignInRefused

MAX_NAME_CHARACTERS = 80
_NAME_CLAIMS = ("preferred_username", "email", "name", "sub")


@dataclass(frozen=True)
class OrgRules:
    """Which values of which claim grant which orgs.

    `mapping` is None where a value grants the org of the same name.
    """

    claim: str
    mapping: Mapping[str, frozenset[str]] | None = None
    admin_groups: frozenset[str] = field(default_factory=frozenset)

    def orgs(self, claims: Mapping[str, Any]) -> frozenset[str] | None:
        """The orgs that these claims grant, None for all orgs.

        Raises SignInRefused where the provider left the claim out because it is too long.
        """
        values = self._values(claims)
        if values & self.admin_groups:
            return None
        if self.mapping is None:
            return frozenset(filter(is_name, values))
        return frozenset().union(*(self.mapping.get(value, ()) for value in values))

    def is_missing(self, claims: Mapping[str, Any]) -> bool:
        """Whether the claim must be asked for elsewhere: at the userinfo endpoint."""
        return self.claim not in claims

    def _values(self, claims: Mapping[str, Any]) -> frozenset[str]:
        value = claims.get(self.claim)
        if value is None and _is_left_out(claims, self.claim):
            raise SignInRefused(
                f"the provider left the claim {self.claim!r} out, because it has too many values",
                cure="Configure the provider to send only the groups that are assigned to the "
                "dashboard's application.",
            )
        if isinstance(value, str):
            return frozenset([value])
        listed = value if isinstance(value, list) else []
        return frozenset(item for item in listed if isinstance(item, str))


def person_name(claims: Mapping[str, Any]) -> str:
    """How pages name a person: at most 80 printable characters."""
    for claim in _NAME_CLAIMS:
        value = claims.get(claim)
        if isinstance(value, str) and (name := _line(value)):
            return name
    return "unnamed"


def read_org_map(path: Path) -> Mapping[str, frozenset[str]]:
    """The map of claim values to orgs in a YAML file.

    Raises ConfigurationError with the line of an entry that is not a list of orgs' names.
    """
    cure = "Write one entry for each value of the claim: `VALUE: [ORG, ...]`."
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        value, lines = parse_yaml(data, str(path))
    except OSError as error:
        raise ConfigurationError(
            f"cannot be read: {error.strerror}", place=str(path), cure=cure
        ) from error
    except InvalidResource as error:
        raise ConfigurationError(str(error), place=str(path), cure=cure) from error
    if not isinstance(value, dict):
        raise ConfigurationError("not a mapping", place=str(path), cure=cure)
    for key, orgs in value.items():
        if not isinstance(key, str) or not isinstance(orgs, list) or not all(map(is_name, orgs)):
            place = f"{path}:{line_of(lines, (key,))}"
            raise ConfigurationError("not a list of orgs' names", place=place, cure=cure)
    return {key: frozenset(orgs) for key, orgs in value.items()}


def _line(value: str) -> str:
    return " ".join(clean_text(value, MAX_NAME_CHARACTERS).split())


def _is_left_out(claims: Mapping[str, Any], claim: str) -> bool:
    """Whether a claim is only referred to (OpenID Connect Core, 5.6.2), as Entra does where a
    person has more than 200 groups."""
    names = claims.get("_claim_names")
    return isinstance(names, dict) and claim in names
