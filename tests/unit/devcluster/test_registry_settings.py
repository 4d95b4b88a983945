"""The pip settings of the host that image builds get."""

from __future__ import annotations

from guildnet_devcluster.registry_settings import pip_settings

FILE = "[global]\nindex-url = https://first.example/%(x)s\ncert = /a/path\n"


def test_urls_are_kept_and_paths_are_not() -> None:
    assert pip_settings([FILE], {}) == "[global]\nindex-url = https://first.example/%(x)s\n"


def test_environment_overrides_files_and_later_files_override_earlier() -> None:
    later = "[global]\nindex-url = https://second.example/\n[install]\nno-cache-dir = true\n"

    assert "second" in pip_settings([FILE, later], {})
    merged = pip_settings(
        [FILE, later], {"PIP_INDEX_URL": "https://third.example/", "PIP_CERT": "/c"}
    )
    assert merged == "[global]\nindex-url = https://third.example/\n"


def test_no_settings_give_an_empty_section() -> None:
    assert pip_settings([], {}) == "[global]\n"
