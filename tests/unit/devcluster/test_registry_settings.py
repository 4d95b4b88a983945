"""What of the host's pip settings an image build is lent."""

from __future__ import annotations

from guildnet_devcluster.registry_settings import pip_settings

FILE = "[global]\nindex-url = https://first.example/%(x)s\ncert = /a/path\n"


def test_places_are_lent_and_paths_are_not() -> None:
    assert pip_settings([FILE], {}) == "[global]\nindex-url = https://first.example/%(x)s\n"


def test_the_environment_wins_over_files_and_later_files_over_earlier() -> None:
    later = "[global]\nindex-url = https://second.example/\n[install]\nno-cache-dir = true\n"

    assert "second" in pip_settings([FILE, later], {})
    told = pip_settings(
        [FILE, later], {"PIP_INDEX_URL": "https://third.example/", "PIP_CERT": "/c"}
    )
    assert told == "[global]\nindex-url = https://third.example/\n"


def test_nothing_said_is_an_empty_section() -> None:
    assert pip_settings([], {}) == "[global]\n"
