"""Slow imports happen only where they are needed: help and validate start at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SLOW = ("kubernetes", "aiohttp", "kopf", "fastapi", "uvicorn", "httpx", "git")
_REPORT = "import sys; print([name for name in {names!r} if name in sys.modules])"


def _imported(code: str, names: tuple[str, ...], *argv: str) -> str:
    script = f"{code}\n{_REPORT.format(names=names)}"
    done = subprocess.run(
        [sys.executable, "-c", script, *argv], capture_output=True, text=True, check=True
    )
    return done.stdout.strip().splitlines()[-1]


def test_the_adapter_of_kubernetes_imports_its_library_only_to_connect() -> None:
    assert _imported("import guildnet.kube", ("kubernetes",)) == "[]"


@pytest.mark.parametrize("arguments", [["--help"], ["validate"]])
def test_a_command_without_a_cluster_imports_none_of_them(
    arguments: list[str], tmp_path: Path
) -> None:
    template = Path(__file__).parents[3] / "repo-template"
    given = [*arguments, str(template)] if arguments == ["validate"] else arguments
    code = f"""
from guildnet_cli.main import main
import sys
sys.argv = ["guildnet", *{given!r}]
try:
    main()
except SystemExit as end:
    assert end.code in (0, None), end.code
"""
    assert _imported(code, SLOW) == "[]"
