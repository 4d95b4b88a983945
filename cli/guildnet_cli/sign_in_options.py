"""The options of the dashboard's sign-in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from guildnet_dashboard.settings import SignInSettings

_PANEL = "Sign-in with OpenID Connect"


@dataclass(frozen=True)
class SignInOptions:
    """Which OpenID Connect provider people sign in with, and which orgs they see."""

    oidc_issuer: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="The provider's issuer URL; turns sign-in on.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    oidc_client_id: Annotated[
        str | None,
        typer.Option(
            metavar="ID", help="The dashboard's client at the provider.", rich_help_panel=_PANEL
        ),
    ] = None
    oidc_client_secret_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The client's secret.", rich_help_panel=_PANEL),
    ] = None
    oidc_ca_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Authorities to trust for the provider.", rich_help_panel=_PANEL
        ),
    ] = None
    oidc_scope: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SCOPE",
            help="A scope to ask for besides openid. Repeatable.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    oidc_org_claim: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="The claim with a person's groups.", rich_help_panel=_PANEL
        ),
    ] = "groups"
    oidc_org_map_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="YAML that maps groups to lists of orgs. Default: a group is an org's name.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    oidc_admin_group: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GROUP", help="A group that sees every org. Repeatable.", rich_help_panel=_PANEL
        ),
    ] = None
    oidc_audience: Annotated[
        str | None,
        typer.Option(
            metavar="AUDIENCE",
            help="The audience of bearer JWTs for the API. Default: the client's ID.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    public_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="The URL that browsers use, without a path.", rich_help_panel=_PANEL
        ),
    ] = None
    session_lifetime: Annotated[
        str,
        typer.Option(metavar="DURATION", help="How long a session lasts.", rich_help_panel=_PANEL),
    ] = "1h"
    session_key_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Keys that sign sessions, one a line. Default: one in the state folder.",
            rich_help_panel=_PANEL,
        ),
    ] = None

    def settings(self) -> SignInSettings | None:
        """None without an issuer; a usage error for other options of sign-in then."""
        from guildnet.units import parse_duration
        from guildnet_dashboard.settings import SignInSettings

        if self.oidc_issuer is None:
            if self != SignInOptions():
                raise typer.BadParameter("the options of sign-in require --oidc-issuer")
            return None
        if self.oidc_client_id is None:
            raise typer.BadParameter("--oidc-issuer requires --oidc-client-id")
        try:
            lifetime = parse_duration(self.session_lifetime)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
        return SignInSettings(
            issuer=self.oidc_issuer,
            client_id=self.oidc_client_id,
            client_secret_file=self.oidc_client_secret_file,
            public_url=self.public_url or "",
            ca_file=self.oidc_ca_file,
            scopes=tuple(self.oidc_scope or ()),
            org_claim=self.oidc_org_claim,
            org_map_file=self.oidc_org_map_file,
            admin_groups=tuple(self.oidc_admin_group or ()),
            audience=self.oidc_audience or "",
            session_lifetime=lifetime,
            session_key_file=self.session_key_file,
        )
