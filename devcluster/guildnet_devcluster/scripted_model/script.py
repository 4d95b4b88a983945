"""The script of the endpoint: read a file, repair it, run the test, report the result. Pure.

The next step depends only on the number of tool results in the request. So the endpoint has no
state, and retries, restarts and parallel agents work.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from guildnet_devcluster.scripted_model.conversation import Call, Json, ModelRequest, Reply, Tool

PATH_NAMES = ("file_path", "filePath", "path", "absolute_path")
OLD_NAMES = ("old_string", "oldString", "oldText", "old_text")
NEW_NAMES = ("new_string", "newString", "newText", "new_text")
COMMAND_NAMES = ("command", "cmd", "commands")
_SHELL = re.compile(r"bash|shell|exec_command|run_command|execute_command|terminal", re.I)
_READ = re.compile(r"^(read|view|open)(?!.*(image|many|mcp))", re.I)
STEPS = ("read", "edit", "test")


@dataclass(frozen=True)
class Script:
    """One replacement in one file, then one command, which runs ``extra_steps`` more times."""

    folder: str
    path: str
    old: str
    new: str
    test: str
    extra_steps: int = 0

    def patch(self) -> str:
        """The repair in the format of `apply_patch` tools."""
        removed = [f"-{line}" for line in self.old.splitlines()]
        added = [f"+{line}" for line in self.new.splitlines()]
        lines = ["*** Begin Patch", f"*** Update File: {self.path}", "@@", *removed, *added]
        return "\n".join([*lines, "*** End Patch"])

    def edit_command(self) -> str:
        """The repair as a shell command, for agents without an edit tool."""
        program = (
            "import pathlib,sys;p=pathlib.Path(sys.argv[1]);"
            "p.write_text(p.read_text().replace(sys.argv[2],sys.argv[3]))"
        )
        return shlex.join(["python3", "-c", program, self.path, self.old, self.new])


def next_reply(request: ModelRequest, script: Script) -> Reply:
    """The next reply of the model."""
    if request.schema is not None:
        return Reply(json.dumps(blank(request.schema)))
    shell = next((tool for tool in request.tools if _is_shell(tool)), None)
    if shell is None:
        return Reply("Repair a failing test")  # a request for a title or a summary has no tools
    done = len(request.results)
    if done >= len(STEPS) + script.extra_steps:
        return Reply("The test passes now." if _passed(request) else "The test still fails.")
    step = STEPS[min(done, 2)]
    fitting = next((tool for tool in request.tools if _fits(tool, step)), None)
    if fitting is not None:
        return Reply(f"Step: {step}.", Call(fitting, _arguments(fitting, step, script)))
    command = {
        "read": f"cat {shlex.quote(script.path)}",
        "edit": script.edit_command(),
        "test": f"{script.test} # {done}" if done > 2 else script.test,
    }[step]
    return Reply(f"Step: {step}.", Call(shell, _with_required(shell, _shell_input(shell, command))))


def _passed(request: ModelRequest) -> bool:
    return any(re.search(r"^OK\b|[1-9]\d* passed", text, re.M) for text in request.results)


def _is_shell(tool: Tool) -> bool:
    return bool(_SHELL.search(tool.name)) and tool.takes(*COMMAND_NAMES) is not None


def _fits(tool: Tool, step: str) -> bool:
    """Whether the tool can do the step, by its parameters: agents name their tools differently."""
    if step == "test":
        return False
    has_path = tool.takes(*PATH_NAMES) is not None
    if step == "read":
        return has_path and bool(_READ.search(tool.name)) and not _fits(tool, "edit")
    if tool.name.endswith("apply_patch"):
        return True
    names = {*tool.properties, *_edit_items(tool)}
    return has_path and bool(names & set(OLD_NAMES)) and bool(names & set(NEW_NAMES))


def _edit_items(tool: Tool) -> Mapping[str, Any]:
    """The parameters of an item of the ``edits`` array."""
    items = tool.properties.get("edits", {}).get("items", {})
    return items.get("properties") or {}


def _arguments(tool: Tool, step: str, script: Script) -> Json | str:
    if tool.name.endswith("apply_patch"):
        name = tool.takes("patch", "patchText", "input", "diff") or "input"
        return script.patch() if tool.is_freeform else {name: script.patch()}
    given: Json = {tool.takes(*PATH_NAMES) or "path": f"{script.folder}/{script.path}"}
    if step == "edit":
        items = _edit_items(tool)
        change = {
            next(name for name in OLD_NAMES if name in (items or tool.properties)): script.old,
            next(name for name in NEW_NAMES if name in (items or tool.properties)): script.new,
        }
        given |= {"edits": [change]} if items else change
    return _with_required(tool, given)


def _shell_input(tool: Tool, command: str) -> Json:
    name = tool.takes(*COMMAND_NAMES) or "command"
    is_list = tool.properties[name].get("type") == "array"
    return {name: ["bash", "-c", command] if is_list else command}


def _with_required(tool: Tool, given: Json) -> Json:
    required = tool.schema.get("required") or ()
    return {name: blank(tool.properties.get(name, {})) for name in required} | given


def blank(schema: Mapping[str, Any]) -> Any:
    """A minimal value that a JSON Schema allows."""
    if schema.get("enum"):
        return schema["enum"][0]
    for part in (*(schema.get("anyOf") or ()), *(schema.get("oneOf") or ())):
        return blank(part)
    kind = schema.get("type", "string")
    kind = str(kind[0] if isinstance(kind, list) else kind).lower()
    if kind == "object":
        properties = schema.get("properties") or {}
        return {n: blank(properties.get(n, {})) for n in schema.get("required") or properties}
    simple = {"boolean": False, "integer": 1, "number": 1, "array": [], "null": None}
    return simple.get(kind, "scripted")
