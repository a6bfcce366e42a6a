"""Changes by a scripted agent, bad and good, over small repositories: what must be stopped, and what must land."""

from __future__ import annotations

from thrum.values import dataclass

Files = dict[str, str | None]
"""What a change writes, by path; None deletes."""

HELD = "held"
"""Instead of checks: no check need find it, and no approval without `--including-protected` lands it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What the agent does for one task. It lands, unless something is named that must stop it."""

    name: str
    """Letters, digits and `-`; unique."""
    repo: str
    files: Files
    script: str = ""
    """For the shell, in the work tree, after the files are written."""
    stopped: str = ""
    """`GATE: CHECK, CHECK` for exactly the checks that must fail; the setback's cause where it is no gate; `HELD`."""
    said: str = ""
    """What stands in a failed check's reason, details or output, or in the refusal of an approval."""
    protected: bool = False
    """Of a good change: it takes `--including-protected` to land."""
    after: tuple[str, ...] = ()
    """Of a good change: it is approved once these others have passed gates 1 and 2, or failed."""
    needs: str = ""
    """What it takes of the machine, see `tests.requirements`."""
