"""What the demo commits: the files of its tasks, as a person would write them."""

from __future__ import annotations

from dataclasses import dataclass

from guildnet_demo import model_endpoint

REPAIR = "fix-average"
NOTES = "release-notes"
FAILING = "broken-build"
NOT_YAML = "not-yaml"

NOTES_TEXT = "Stable since spring. No known faults."
FAILURE_MESSAGE = "linker: cannot find -lguild"
NOT_YAML_LINE = 4

_CHANGELOG_COMMAND = """
        set -eu
        echo "- average() of nothing is 0.0" > CHANGELOG.md
        python3 -m unittest -q
        echo '{"command": "python3 -m unittest", "passed": true}' > ~/.guildnet/state/tests.json
"""


@dataclass(frozen=True, slots=True)
class ForgeUrls:
    """URLs that tasks use: the product's clone URL and one raw file of it."""

    product_url: str
    readme_url: str


def repair(forge: ForgeUrls) -> str:
    """A coding agent repairs the product, runs its tests and opens a pull request."""
    return _with_pull_request(
        forge,
        "average([]) fails; make it return 0.0 and keep every test green.",
        f"""
    preset: {model_endpoint.PRESET}
    model: {{use: {model_endpoint.MODEL}}}
    budget: {{usd: 1, requests: 20}}""",
    )


def repair_edited(forge: ForgeUrls) -> str:
    """The same task with another prompt: the next run, on the same pull request."""
    return _with_pull_request(
        forge,
        "average([]) is repaired; say so in a CHANGELOG.md as well.",
        f"""
    command:
      - sh
      - -c
      - |{_CHANGELOG_COMMAND.rstrip()}""",
    )


def _with_pull_request(forge: ForgeUrls, prompt: str, agent: str) -> str:
    return f"""\
apiVersion: guildnet.io/v1alpha1
kind: Task
metadata: {{name: {REPAIR}, labels: {{team: stats}}}}
spec:
  prompt: {prompt}
  context:
    - {{name: stats, git: {{url: "{forge.product_url}", ref: main, secret: forge-token}}}}
  agent:{agent}
  pullRequest: {{context: stats, base: main, title: Average of nothing is zero}}
  timeout: 10m
"""


def notes(forge: ForgeUrls) -> str:
    """Reads a text and a URL, and leaves only an artifact."""
    return f"""\
apiVersion: guildnet.io/v1alpha1
kind: Task
metadata: {{name: {NOTES}}}
spec:
  prompt: Count the words of the notes and of the README.
  context:
    - {{name: notes, text: "{NOTES_TEXT}"}}
    - {{name: readme, url: {{href: "{forge.readme_url}", maxBytes: 64Ki}}}}
  agent:
    command:
      - sh
      - -c
      - |
        set -eu
        words=$(for text in notes readme; do cat /workspace/$text; echo; done | wc -w)
        echo "{{\\"words\\": $words}}" > ~/.guildnet/state/words.json
  timeout: 10m
"""


def failing() -> str:
    """A command that fails and prints the cause."""
    return f"""\
apiVersion: guildnet.io/v1alpha1
kind: Task
metadata: {{name: {FAILING}}}
spec:
  prompt: Build the library.
  agent: {{command: [sh, -c, "echo '{FAILURE_MESSAGE}' >&2; exit 3"]}}
  retries: 0
"""


def not_yaml() -> str:
    """A file that is not valid YAML: a brace is never closed."""
    return f"""\
apiVersion: guildnet.io/v1alpha1
kind: Task
metadata: {{name: {NOT_YAML}
spec:
  prompt: Nobody will read this.
"""
