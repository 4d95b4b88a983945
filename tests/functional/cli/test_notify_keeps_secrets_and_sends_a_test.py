"""`guildnet notify`: secrets stay in the state folder, and a test message names what is wrong."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.functional.cli.conftest import Guildnet

ORG = """\
apiVersion: guildnet.io/v1alpha1
kind: Org
metadata: {name: acme}
spec:
  cluster: {kubeconfig: acme, namespace: agents}
  notify:
  - {name: ops, type: webhook, url: "https://receiver.invalid/in", secret: ops-key}
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "orgs").mkdir()
    (tmp_path / "orgs/acme.yaml").write_text(ORG)
    return tmp_path


def test_a_secret_is_stored_for_its_owner_alone(guildnet: Guildnet, checkout: Path) -> None:
    answer = guildnet("notify", "secret", "acme", "ops-key", cwd=checkout, text="sesame\n")
    assert answer.code == 0, answer
    path = Path(os.environ["GUILDNET_STATE_DIR"]) / "notify/acme/ops-key"
    assert path.read_text() == "sesame\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert "sesame" not in answer.out + answer.err


@pytest.mark.parametrize("name", ["../globex/key", "Key", ""])
def test_a_secret_of_another_form_of_name_is_refused(
    guildnet: Guildnet, checkout: Path, name: str
) -> None:
    answer = guildnet("notify", "secret", "acme", name, cwd=checkout, text="sesame\n")
    assert answer.code == 1
    assert "is not a lower-case DNS label" in answer.err


def test_a_test_message_names_the_missing_secret(guildnet: Guildnet, checkout: Path) -> None:
    answer = guildnet("notify", "test", "acme", "--repo", str(checkout), cwd=checkout)
    assert answer.code == 1
    assert "ops: " in answer.err
    assert "guildnet notify secret acme ops-key" in answer.err


def test_a_receiver_that_is_not_in_the_file_is_named(guildnet: Guildnet, checkout: Path) -> None:
    answer = guildnet("notify", "test", "acme", "chat", "--repo", str(checkout), cwd=checkout)
    assert answer.code == 1
    assert "receiver 'chat' not found; receivers: ops" in answer.err
