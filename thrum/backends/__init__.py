"""The agent programs that Thrum knows: how each is run, and what its output says. Pure; values only."""

from __future__ import annotations

from thrum.backends import aider, claude_code, codex, gemini, generic, mini_swe_agent, opencode
from thrum.backends.preset import PLACEHOLDERS, Preset, Reading, Trouble
from thrum.errors import NotFoundError

__all__ = ["PLACEHOLDERS", "PRESETS", "Preset", "Reading", "Trouble", "preset"]

_ALL = (claude_code, codex, opencode, gemini, aider, mini_swe_agent, generic)
PRESETS: dict[str, Preset] = {module.PRESET.name: module.PRESET for module in _ALL}
"""By name."""


def preset(name: str) -> Preset:
    """The preset of that name.

    Raises:
        NotFoundError: there is none.
    """
    if name not in PRESETS:
        raise NotFoundError(f"there is no preset {name!r}", remedy=f"Known: {', '.join(sorted(PRESETS))}.")
    return PRESETS[name]
