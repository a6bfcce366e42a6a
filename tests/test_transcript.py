"""What agents said and did, from what their real programs printed; and the story of a task as a file."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.projects import ThrumProject
from thrum.transcript import ENTRY_CHARS, MOST_ENTRIES, Entry, Transcript, entries, understood

RECORDED = Path(__file__).parent / "agents"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "message", "content", "item", "part", "state", "input", "text", "tool", "command"]
            ),
            inner | st.sampled_from(["text", "tool", "tool_use", "item.completed", "message", "error", "assistant"]),
            max_size=4,
        )
    ),
    max_leaves=12,
)


@pytest.mark.parametrize("name", ["claude-code", "codex", "opencode", "gemini"])
def test_a_recorded_run_tells_what_was_said_done_and_got(name: str) -> None:
    told = list(entries((RECORDED / name / "success.out").read_text()))
    assert understood(told)
    said = [entry.text for entry in told if entry.kind == "said"]
    assert said == ["I run a command.", "I made a.txt."]
    [did] = [entry for entry in told if entry.kind == "did"]
    assert "echo hi > a.txt" in did.text
    assert did.tool


@pytest.mark.parametrize("name", ["aider", "mini-swe-agent"])
def test_text_stays_as_it_was_printed(name: str) -> None:
    output = (RECORDED / name / "success.out").read_text()
    told = list(entries(output))
    assert not understood(told)
    assert "".join(entry.text for entry in told)[:200].strip() in output


def test_every_recorded_run_is_read() -> None:
    for path in RECORDED.glob("*/*.out"):
        assert all(entry.text.strip() for entry in entries(path.read_text())), path


@given(values=st.lists(JSON, max_size=4))
def test_whatever_a_line_holds_nothing_fails(values: list[object]) -> None:
    output = "\n".join(json.dumps(value) for value in values)
    assert all(entry.text.strip() for entry in entries(output))


@given(values=st.lists(JSON, max_size=4), cuts=st.lists(st.integers(0, 200), max_size=6))
def test_an_output_in_pieces_tells_the_same(values: list[object], cuts: list[int]) -> None:
    output = "".join(f"{json.dumps(value, ensure_ascii=False)}\n" for value in values)
    ends = sorted({*(min(cut, len(output)) for cut in cuts), len(output)})
    transcript = Transcript()
    pieces = [output[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]
    told = [entry for piece in pieces for entry in transcript.feed(piece)] + list(transcript.end())
    joined = [entry for entry in told if entry.kind != "printed"]
    assert joined == [entry for entry in entries(output) if entry.kind != "printed"]
    printed = [entry.text for entry in entries(output) if entry.kind == "printed"]
    assert "\n".join(entry.text for entry in told if entry.kind == "printed").split() == "\n".join(printed).split()


def test_a_line_of_json_may_hold_what_else_ends_a_line() -> None:
    line = json.dumps({"type": "message", "role": "assistant", "content": "a\u2028b\x85c"}, ensure_ascii=False)
    assert [entry.kind for entry in entries(line)] == ["said"]


def test_entries_and_their_number_are_bounded() -> None:
    long = json.dumps({"type": "message", "role": "assistant", "content": "x" * 10 * ENTRY_CHARS})
    [entry] = entries(long)
    assert len(entry.text) < ENTRY_CHARS + 100
    assert "characters left out" in entry.text
    many = list(entries("\n".join([json.dumps({"type": "message", "content": "a"})] * (MOST_ENTRIES + 10))))
    assert len(many) == MOST_ENTRIES + 1
    assert "the rest is in the output" in many[-1].text


@pytest.mark.parametrize("depth", [20, 400, 900])
@pytest.mark.parametrize(("begin", "end"), [('{"a":', "}"), ("[", "]")])
def test_what_is_nested_deep_is_told_in_part(depth: int, begin: str, end: str) -> None:
    line = f'{{"type": "tool_use", "tool_name": "x", "parameters": ["before", {begin * depth}1{end * depth}]}}'
    [entry] = entries(line)
    assert (entry.kind, entry.text.startswith("before"), entry.text.endswith("[…]")) == ("did", True, True)


def test_halves_of_characters_and_lines_in_a_name_are_no_trouble() -> None:
    [entry] = entries('{"type": "tool_use", "tool_name": "a\\ud83d\\nb", "parameters": {"x": "\\ude00", "\\ud800": 1}}')
    assert entry == Entry(kind="did", text="x: ?\n?: 1", tool="a? b")


def test_lines_between_are_one_entry() -> None:
    output = 'a\nb\n\n{"type": "message", "content": "hello"}\n{"broken\n{"type": "other"}\n'
    assert list(entries(output)) == [
        Entry(kind="printed", text="a\nb\n"),
        Entry(kind="said", text="hello"),
        Entry(kind="printed", text='{"broken\n{"type": "other"}'),
    ]


# --- task log and task export -----------------------------------------------------------------------------------------


class Tags(HTMLParser):
    """Collects the tags and the text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_story_of_a_task_is_told_in_three_forms(tmp_path: Path) -> None:
    project = ThrumProject(tmp_path)
    task = project.add(
        "BE-RED <b>until</b> told", "--description", "Of two lines,\n```\nthis one <script>too</script>."
    )
    project.command("run", code=4)
    story = json.loads(project.command("task", "export", task, "--format", "json").out)
    assert [attempt["token"] for attempt in story["attempts"]] == [1, 2]
    assert story["attempts"][1]["prompt"].startswith(f"# Task {task}: BE-RED")
    assert story["diff"]["files"] == ["colour.txt"]
    assert story["history"][0]["kind"] == "added"

    markdown = project.command("task", "export", task).out
    assert markdown.startswith(f"# {task}: BE-RED \\<b\\>until\\</b\\> told\n")
    assert "\n````\nOf two lines,\n```\nthis one" in markdown, "a fence is longer than any in the text"
    assert "## Attempt 2" in markdown
    assert "+green" in markdown

    file = tmp_path / "story.html"
    project.command("task", "export", task, "--format", "html", "--output", str(file))
    page = Tags(file.read_text())
    assert "script" not in page.tags
    assert "b" not in page.tags
    assert "this one <script>too</script>." in page.text
    assert "it is red" in page.text, "what the gate told the agent is in the second prompt"


def test_the_log_of_a_program_that_prints_json_is_for_people_and_raw_on_demand(tmp_path: Path) -> None:
    project = ThrumProject(tmp_path)
    lines = [
        {"type": "assistant", "message": {"content": [{"type": "text", "text": "I look."}]}},
        {
            "type": "assistant",
            "message": {"content": [{"type": "tool_use", "name": "Bash", "input": {"command": "ls"}}]},
        },
    ]
    output = "".join(f"{json.dumps(line)}\n" for line in lines)
    (tmp_path / "output").write_text(output)
    agent = '[[backends]]\nname = "json"\ncommand = "sh"\n'
    agent += (
        f'prompt_args = ["-c", "cat \'{tmp_path}/output\'; echo x > x.txt"]\n[roles.implementer]\nbackend = "json"\n'
    )
    project.configure(pipeline=agent)
    task = project.add("Anything")
    project.command("run", code=4)
    assert project.command("task", "log", task).out == "[said]\nI look.\n[did Bash]\nls\n"
    assert project.command("task", "log", task, "--raw").out == output
    shown = project.json("task", "log", task)
    assert shown["text"] == output
    assert [entry["kind"] for entry in shown["transcript"]] == ["said", "did"]
    lines = project.command("task", "export", task, "--format", "jsonl").out.splitlines()
    assert [json.loads(line) for line in lines] == [
        {"task": task, "attempt": 1, **entry} for entry in shown["transcript"]
    ]
