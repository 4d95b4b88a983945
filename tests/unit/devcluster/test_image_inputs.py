"""The paths that a target of a Dockerfile copies."""

from __future__ import annotations

import pytest

from guildnet_devcluster.image_inputs import copied_paths, copied_stages

DOCKERFILE = r"""
ARG BASE=debian:bookworm-slim
ARG WORK_BASE=heavy
# FROM nothing AS comment
FROM ${BASE} AS runtime
RUN echo COPY not/this /here
FROM runtime AS heavy
COPY requirements.lock /tmp/
COPY --from=tools /opt/tools /opt/tools
FROM runtime AS tools
COPY --chown=1:1 tools/one \
     tools/two /opt/tools/
FROM runtime AS code
COPY core/guildnet /opt/guildnet
FROM ${WORK_BASE} AS work
COPY --from=code /opt/guildnet /opt/guildnet
"""


@pytest.mark.parametrize(
    ("target", "paths"),
    [
        ("runtime", ()),
        ("code", ("core/guildnet",)),
        ("heavy", ("requirements.lock", "tools/one", "tools/two")),
        ("work", ("core/guildnet", "requirements.lock", "tools/one", "tools/two")),
    ],
)
def test_paths_copied_by_a_target_and_its_stages(target: str, paths: tuple[str, ...]) -> None:
    """I5: an image is rebuilt only when one of its own inputs changes."""
    assert copied_paths(DOCKERFILE, target) == paths


def test_stages_that_a_target_copies_from() -> None:
    """They are named in the store after a build, so they are not pruned."""
    assert copied_stages(DOCKERFILE, "work") == ("code",)
    assert copied_stages(DOCKERFILE, "heavy") == ("tools",)
    assert copied_stages(DOCKERFILE, "code") == ()


def test_an_unknown_target_is_an_error() -> None:
    with pytest.raises(KeyError):
        copied_paths(DOCKERFILE, "no-such-stage")
