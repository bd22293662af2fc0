"""Other values for a section of ``params.yaml``, as a patch for a person to read and apply."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping

import yaml

from pipelines.errors import ConfigError

NAME = "params.yaml"


def patched(content: str, section: str, values: Mapping[str, object]) -> str:
    """``params.yaml`` with other values in one section; comments and all else stay.

    Args:
        content: of the file.
        section: whose values change; it is added at the end where it is missing.
        values: by key.

    Raises:
        ConfigError: the section is not written as a block of one key a line.
    """
    lines = content.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    start = next((row for row, line in enumerate(lines) if re.match(rf"{re.escape(section)}:\s*(#.*)?$", line)), None)
    if start is None:
        if section in (yaml.safe_load(content) or {}):
            raise _refusal(section)
        start = len(lines)
        lines.append(f"{section}:\n")
    stop = start + 1
    while stop < len(lines) and lines[stop][:1] in (" ", "\n", "#"):
        stop += 1
    block = lines[start + 1 : stop]
    for key, value in values.items():
        written = yaml.safe_dump(value).split("\n")[0]
        for row, line in enumerate(block):
            found = re.match(rf"(\s+{re.escape(key)}:\s*)([^#\n]*?)(\s*#.*)?$", line)
            if found:
                block[row] = f"{found[1].rstrip()} {written}{found[3] or ''}\n"
                break
        else:
            block.insert(0, f"  {key}: {written}\n")
    after = "".join([*lines[: start + 1], *block, *lines[stop:]])
    _refuse_other(content, after, section, values)
    return after


def patch(before: str, after: str) -> str:
    """A unified diff that ``git apply`` takes in the repository's root; empty where nothing differs."""
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    lines = difflib.unified_diff(old, new, f"a/{NAME}", f"b/{NAME}")
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def _refuse_other(before: str, after: str, section: str, values: Mapping[str, object]) -> None:
    old = yaml.safe_load(before) or {}
    wanted = {**old, section: {**(old.get(section) or {}), **values}}
    try:
        written = yaml.safe_load(after)
    except yaml.YAMLError:
        written = None
    if written != wanted:
        raise _refusal(section)


def _refusal(section: str) -> ConfigError:
    return ConfigError(
        f"the section {section} of {NAME} cannot be patched as it is written",
        mend=f"write it as a block: a line '{section}:', then a line '  key: value' for each",
    )
