"""The state diagram of a task, generated from the table of transitions, in Mermaid's notation."""

from __future__ import annotations

from thrum.pipeline.table import TRANSITIONS, Step
from thrum.task import ENDS, State


def diagram() -> str:
    """A Mermaid `stateDiagram-v2`; `cancel`, which leads out of every state that is no end, is a note."""
    arrows = [
        f"    {_name(source)} --> {_name(target)}: {step}"
        for (source, step), target in TRANSITIONS.items()
        if step is not Step.CANCEL
    ]
    ends = [f"    {_name(end)} --> [*]" for end in State if end in ENDS]
    note = f"    note right of {_name(State.CANCELLED)}: cancel leads here from every state that is no end"
    return "\n".join(["stateDiagram-v2", f"    [*] --> {_name(State.PENDING)}: add", *arrows, *ends, note])


def _name(state: State) -> str:
    return state.value.replace("-", "_")


if __name__ == "__main__":
    import sys

    sys.stdout.write(diagram() + "\n")
