"""What the command prints: plans, problems, tables, check results and manifests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import yaml

from guildnet.errors import ConfigurationError, InvalidResource, Problem
from guildnet_cli.cluster.checks import (
    CheckFailed,
    CheckResult,
    describe_credential,
    describe_lease,
    to_json,
    to_text,
)
from guildnet_cli.cluster.installation import as_yaml, in_order
from guildnet_cli.commands.services import grants
from guildnet_cli.commands.validate import ProblemFormat, problems_as
from guildnet_cli.output import describe, printable, table
from guildnet_cli.views.plan import as_markdown, as_text
from guildnet_reconciler.offline import FieldChange, PlanRow


def test_a_plan_is_printed_org_by_org_with_a_summary() -> None:
    rows = [
        PlanRow("acme", "one", "create", "New"),
        PlanRow("acme", "two", "delete", held="DeletionBudget: too many"),
        PlanRow("globex", "", "hold", "ApproveMove", "moved"),
        PlanRow(
            "globex",
            "x",
            "update",
            fields=(
                FieldChange("spec.env", None, [{"name": "A"}]),
                FieldChange("spec.timeout", "2h", "30m"),
            ),
        ),
    ]
    assert as_text(rows) == (
        "acme\n"
        "  + create one  (New)\n"
        "  - delete two\n"
        "      held: DeletionBudget: too many\n"
        "\n"
        "globex\n"
        "  ! hold globex  (ApproveMove)\n"
        "      held: moved\n"
        "  ~ update x\n"
        '      spec.env: (none) -> [{"name": "A"}]\n'
        "      spec.timeout: 2h -> 30m\n"
        "\n"
        "Plan: 1 to create, 1 to change, 1 to delete, 2 held."
    )
    assert as_text([]) == "Plan: nothing to do."


def test_a_long_text_is_cut_around_its_change() -> None:
    old = "The same words at length, " * 9 + "then one thing." + " And more." * 9
    change = FieldChange("spec.prompt", old, old.replace("one thing", "another"))
    printed = as_text([PlanRow("acme", "x", "update", fields=(change,))]).splitlines()[2]
    assert "then one thing." in printed
    assert "-> ..." in printed
    assert "then another." in printed
    assert len(printed) < 180


def test_a_plan_in_markdown_stays_in_its_block() -> None:
    evil = "x\n````\n<img src=x> @everyone"
    rows = [
        PlanRow("acme", "one", "create", "New"),
        PlanRow("acme", "two", "update", fields=(FieldChange("spec.prompt", "a", evil),)),
        PlanRow("acme", "three", "warn", "tasks/acme/three.yaml: no command"),
    ]
    lines = as_markdown(rows).splitlines()
    assert lines[0] == "**GuildNet plan:** 1 to create, 1 to change, 1 cannot start."
    assert lines[2:5] == ["````diff", "@@ acme @@", "+ create one  (New)"]
    assert [n for n, line in enumerate(lines) if line.lstrip().startswith("```")] == [
        2,
        len(lines) - 1,
    ]
    assert as_markdown([]) == "**GuildNet plan:** nothing to do."


def test_file_contents_cannot_forge_annotations() -> None:
    problem = Problem("tasks/a/b,c:d.yaml", 3, "bad 100%\n::error file=x::y")
    assert problems_as(ProblemFormat.GITHUB, [problem]) == (
        "::error file=tasks/a/b%2Cc%3Ad.yaml,line=3::bad 100%25%0A::error file=x::y"
    )
    assert problems_as(ProblemFormat.GITHUB, [Problem("a", 0, "b")]) == "::error file=a::b"


def test_a_table_is_aligned_and_has_no_control_characters() -> None:
    text = table(("A", "LONGER"), [("x\x1b[2Jy", "1"), ("z", "2\n3")])
    assert text.splitlines() == ["A       LONGER", "x [2Jy  1", "z       2 3"]
    assert printable("\x00ü\u202e") == "ü"


def test_an_error_has_place_cause_and_what_to_do() -> None:
    """I10."""
    error = ConfigurationError("it broke", place="here", cure="Mend it.")
    assert describe(error) == "guildnet: here: it broke\n  what to do: Mend it."
    many = InvalidResource([Problem("a", 1, "x"), Problem("b", 0, "y")])
    assert describe(many) == "a:1: x\nb: y"


def test_check_results_say_how_to_fix_faults() -> None:
    results = {
        "acme": [CheckResult("reach", True, "answers"), CheckResult("crd", False, "no", "Do.")]
    }
    assert to_json(results)["acme"][0] == {"check": "reach", "good": True, "message": "answers"}
    assert to_text(results).splitlines()[2].split() == ["acme", "crd", "FAIL", "no", "Do."]
    assert "guildnet org add" in to_text({})


def test_an_operator_is_running_while_its_lease_is_renewed() -> None:
    now = datetime(2026, 1, 1, 12, 0, 40, tzinfo=UTC)
    spec = {"holderIdentity": "pod-1", "renewTime": "2026-01-01T12:00:37.000000Z"}
    assert describe_lease(spec, now) == "renewed by pod-1 3 s ago"
    with pytest.raises(CheckFailed, match="has no holder"):
        describe_lease({"holderIdentity": "", "renewTime": spec["renewTime"]}, now)
    with pytest.raises(CheckFailed, match="last renewed by pod-1 120 s ago"):
        describe_lease(spec, now + timedelta(seconds=117))


def test_manifests_are_in_the_order_to_apply_them() -> None:
    kinds = ("Deployment", "Role", "CustomResourceDefinition", "ServiceAccount", "Namespace")
    shared = {"a": 1}
    objects = [{"kind": kind, "metadata": {"labels": shared, "more": shared}} for kind in kinds]
    ordered = in_order(objects)
    assert [o["kind"] for o in ordered] == [
        *("Namespace", "CustomResourceDefinition", "Role", "ServiceAccount", "Deployment")
    ]
    text = as_yaml(ordered)
    assert list(yaml.safe_load_all(text)) == ordered
    assert "&id" not in text


def test_grants_collect_the_orgs_of_each_kubeconfig() -> None:
    assert grants(["k=a", "k=b", "l=a"]) == {"k": frozenset("ab"), "l": frozenset("a")}


def test_doctor_names_a_credential_that_ends_within_a_week() -> None:
    now = datetime(2026, 3, 1, tzinfo=UTC)
    soon = describe_credential(now + timedelta(days=6), now, "acme")
    assert not soon.good
    assert "ends at 2026-03-07 00:00 UTC" in soon.message
    assert "guildnet org add acme" in soon.cure
    assert describe_credential(now + timedelta(days=8), now, "acme").good
    assert describe_credential(None, now, "acme").good
