"""Failures of sign-in; see `guildnet.errors` for the tree that they belong to."""

from __future__ import annotations

from guildnet.errors import GuildNetError


class SignInError(GuildNetError):
    """A person or a token is not let in."""


class TokenRejected(SignInError):
    """A JWT is malformed, not signed by the provider, expired, or meant for someone else."""


class SignInRefused(SignInError):
    """A sign-in cannot be completed; starting it again may help."""


class ProviderUnavailable(SignInError):
    """The provider does not answer, or not as OpenID Connect requires. Trying again may help."""
