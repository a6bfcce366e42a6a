"""What a scripted model is to do: steps, the plan of them that stands in a prompt, and what each has the model say.

    prompt = "Mend the parser.\n" + plan(run("echo hi > a.txt"), say("done"))

Pure. Which step is next follows from the conversation alone, but for failures that end after some times.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from thrum.scripted.conversation import Asked, Reply

MARK = "MODEL-PLAN:"

Step = dict[str, Any]


def run(command: str) -> Step:
    """Run a command through whatever shell tool is offered; a program without one is told so in words."""
    return {"run": command}


def write(path: str, content: str, *, saying: str = "") -> Step:
    """Make a file: through a shell tool, or in the form that a program without tools asks for its edits in.

    `saying` stands before such an edit: it is all that is said, as the program does not ask again after it.
    """
    return {"write": path, "content": content, "saying": saying}


def only(step: Step, *, when: str = "", unless: str = "") -> Step:
    """A step that is in the plan only where the rest of the prompt has the one text in it, and not the other."""
    return {**step, "when": when, "unless": unless}


def say(text: str) -> Step:
    """Say a text and stop."""
    return {"say": text}


def refuse(text: str = "I cannot help with that.") -> Step:
    """Refuse in the way that the API has for it."""
    return {"refuse": text}


def fail(
    status: int,
    *,
    message: str = "",
    retry_after_s: float | None = None,
    times: int | None = None,
    headers: dict[str, str] | None = None,
) -> Step:
    """Answer with an HTTP error; to so many requests, else to all of them."""
    told = {"message": message, "retry_after_s": retry_after_s, "times": times, "headers": headers or {}}
    return {"fail": status, **told}


def overloaded(times: int | None = None) -> Step:
    """Answer that there is no room at present: 529 or 503."""
    return {"fail": 0, "kind": "overloaded", "times": times}


def overflow() -> Step:
    """Answer that the conversation does not fit the model."""
    return {"fail": 400, "kind": "overflow"}


def quota(resets_at: int | None = None) -> Step:
    """Answer that what was paid for is used up, until a time (Unix seconds) where the API can say one."""
    return {"fail": 0, "kind": "quota", "resets_at": resets_at}


def hang() -> Step:
    """Take the request and never answer, until the server is closed (at most ten minutes)."""
    return {"hang": True}


def cut() -> Step:
    """Break the answer off in its middle."""
    return {"cut": True}


def plan(*steps: Step) -> str:
    """The line of a prompt that has the model take these steps."""
    return f"{MARK} {json.dumps(steps)}"


def next_step(asked: Asked, otherwise: Sequence[Step], fails: Callable[[str, int | None], bool]) -> Step:
    """What to do about a request; `otherwise` is the plan where its prompt has none.

    `fails` is told which failure has come up (a text that stands for it) and how often it may; whether it still does.
    """
    if is_beside(asked):
        return say(json.dumps(_fitting(asked.schema)) if asked.schema else "A short text")
    found, since = _planned(asked)
    told = "\n".join(line for line in asked.prompt.splitlines() if MARK not in line)
    planned = otherwise if found is None else found
    steps = [step for step in planned if step.get("when", "") in told and (step.get("unless") or "\0") not in told]
    answered = sum(role == "assistant" for role, _ in groupby(turn.role for turn in asked.turns[since:]))
    for number, step in enumerate(steps):
        if "fail" in step:
            # A conversation that went past a failure shows that it is none any more.
            if not answered and fails(f"{number} of {json.dumps(steps)}", step.get("times")):
                return step
        elif answered:
            answered -= 1
        else:
            return step
    return steps[-1] if steps and "say" in steps[-1] else say("That is all.")


def _planned(asked: Asked) -> tuple[list[Step] | None, int]:
    """The plan of the newest turn of the user that has one, and where in the conversation that is."""
    for index in reversed(range(len(asked.turns))):
        turn = asked.turns[index]
        if turn.role in ("user", "beside") and MARK in turn.text:
            found = turn.text.rpartition(MARK)[2].lstrip()
            try:
                return json.JSONDecoder().raw_decode(found)[0], index
            except ValueError:
                return [say(f"there is no plan in {found[:200]!r}")], index
    return None, 0


def edits_in_words(asked: Asked) -> str:
    """The form that a program without tools asks for edits in: `diff`, `whole` or none."""
    told = asked.system + asked.prompt
    return "diff" if "SEARCH/REPLACE" in told else "whole" if "*file listing*" in told else ""


def is_beside(asked: Asked) -> bool:
    """Whether a request is none for the next step, but for a title, a summary or a commit message."""
    return not asked.tools and not edits_in_words(asked)


def _fitting(schema: dict[str, Any]) -> Any:
    """The least that fits a JSON schema."""
    match str(schema.get("type", "")).lower():
        case "object":
            properties = schema.get("properties") or {}
            return {name: _fitting(properties.get(name, {})) for name in schema.get("required") or properties}
        case "array":
            return []
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return False
    return (schema.get("enum") or ["a text"])[0]


def reply_to(asked: Asked, step: Step) -> Reply:
    """What the model says where the step is neither a failure nor silence."""
    if "refuse" in step:
        return Reply(text=step["refuse"], refused=True)
    if "run" in step:
        return _calling(asked, step["run"])
    if "write" in step:
        return _writing(asked, step)
    text = step.get("say", "This answer is cut off in its middle.")
    if "COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT" in asked.system + asked.prompt:
        # Where the end has a command of its own, a text alone does not end anything.
        ended = _calling(asked, "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT; printf '%s\\n' " + shlex.quote(text))
        return replace(ended, text=text)
    return Reply(text=text)


def _calling(asked: Asked, command: str) -> Reply:
    """A call of the shell tool, with something for every argument that its schema asks for."""
    for name, schema in asked.tools.items():
        if name == "exec" and schema.get("type") == "custom":
            # Codex gives its newer models a JavaScript of its own, in which the tools are functions.
            script = f"text(await tools.exec_command({json.dumps({'cmd': command})}))"
            return Reply(text="I run a command.", tool=name, arguments={"input": script})
        properties = schema.get("properties") or {}
        key = next((key for key in ("command", "cmd") if key in properties), "")
        if not key or not any(part in name.lower() for part in ("bash", "shell", "exec")):
            continue
        listed = properties[key].get("type") == "array"
        arguments: dict[str, Any] = {key: ["bash", "-c", command] if listed else command}
        for needed in schema.get("required") or ():
            kind = properties.get(needed, {}).get("type")
            arguments.setdefault(needed, {"integer": 1000, "number": 1000, "boolean": False}.get(kind, "a step"))
        return Reply(text="I run a command.", tool=name, arguments=arguments)
    return Reply(text=f"There is no shell among the tools: {', '.join(asked.tools) or 'none'}")


def _writing(asked: Asked, step: Step) -> Reply:
    path, content = step["write"], step["content"]
    before = f"{step['saying']}\n\n" if step.get("saying") else ""
    match edits_in_words(asked) if not asked.tools else "":
        case "diff":
            return Reply(text=f"{before}{path}\n```\n<<<<<<< SEARCH\n=======\n{content}>>>>>>> REPLACE\n```\n")
        case "whole":
            return Reply(text=f"{before}{path}\n```\n{content}```\n")
    return _calling(asked, f"printf %s {shlex.quote(content)} > {shlex.quote(path)}")
