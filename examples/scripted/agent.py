#!/usr/bin/env python3
"""A stand-in for a coding agent: no model, no key, no network.

Thrum calls it as it calls any other: in a work tree, with the path of a file that holds the prompt. What a model
would think of is written down here, for three tasks and for the ways in which they come back. Which of it is done is
decided by what the prompt says and by nothing else: the task's title, the test that the gate's output names as
failed, the words of a person's feedback. Of what it does not understand it changes nothing.
"""

import re
import sys
from collections.abc import Callable
from pathlib import Path

Playbook = dict[str, Callable[[], None]]


def main(argv: list[str]) -> int:
    """Do what the prompt asks for; the exit code."""
    prompt = Path(argv[1]).read_text()
    before, found, history = prompt.partition("\n# What happened so far\n")
    title = re.search(r"^# Task \S+: (.+)$", before, re.MULTILINE)
    if title is None:
        say("this is no prompt of Thrum")
        return 1
    if found and "did not pass a gate" in history:
        return mend(history)
    if found and "A person looked at the change" in history:
        return revise(history)
    return implement(title[1])


def implement(title: str) -> int:
    """The first attempt, or one more after an interruption."""
    if title not in TASKS:
        say(f"I do not know how to do this: {title}")
        return 1
    say(f"The task: {title}")
    TASKS[title]()
    return 0


def mend(history: str) -> int:
    """An attempt after a gate that failed: mend each test that pytest's summary names."""
    failed = re.findall(r"^FAILED \S+::(\w+)", history, re.MULTILINE)
    known = [test for test in dict.fromkeys(failed) if test in MENDING]
    for test in known:
        say(f"The gate says that {test} fails.")
        MENDING[test]()
    if not known:
        say(f"I do not know how to mend this: {', '.join(failed) or 'the output names no test'}")
    return 0 if known else 1


def revise(history: str) -> int:
    """An attempt after a person's feedback: swap one word for another in the files of the change, add a test."""
    swap = re.search(r"[Uu]se `(\w+)` instead of `(\w+)`", history)
    same = re.search(r"test that `(\w+)` and `(\w+)` are one word", history)
    changed = re.search(r"^The work tree holds the work so far; it changes: (.+)\.$", history, re.MULTILINE)
    if swap:
        new, old = swap.groups()
        say(f"The feedback asks for {new} instead of {old}.")
        for name in changed[1].split(", ") if changed else ():
            file = Path(name)
            file.write_text(re.sub(rf"\b{old}\b", new, file.read_text()))
    if same:
        first, second = same.groups()
        say(f"The feedback asks for a test with {first} and {second}.")
        add_test(
            "tests/test_words.py",
            f"test_{first}_and_{second}_are_one_word".lower(),
            f'assert list(count_words("{first} {second}").values()) == [2]',
        )
    if not swap and not same:
        say("I do not understand the feedback.")
    return 0 if swap or same else 1


# --- What a model would have thought of --------------------------------------------------------------------------

ORDER = "    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))\n"
LINES = '    return [f"{count:>5}  {word}" for word, count in ordered]\n'


def show_only_the_most_frequent() -> None:
    """The obvious way, which forgets that words of equal count have an order."""
    report = "tally/report.py"
    edit(report, "def report(counts: Counter[str]) ->", "def report(counts: Counter[str], top: int | None = None) ->")
    edit(report, 'alphabetical order."""\n', 'alphabetical order.\n\n    Of all these the first `top`.\n    """\n')
    edit(report, ORDER, "    ordered = counts.most_common(top)\n")
    command = "tally/__main__.py"
    here = "    options = parser.parse_args(argv)\n"
    option = '    parser.add_argument("--top", type=int, metavar="N", help="only the N most frequent")\n'
    edit(command, here, option + here)
    edit(command, "report(count_words(text))", "report(count_words(text), options.top)")
    add_test(
        "tests/test_report.py",
        "test_top_leaves_out_the_rest",
        'assert report(Counter({"or": 1, "be": 2}), top=1)[0] == "    2  be"',
    )


def order_words_of_equal_count() -> None:
    edit("tally/report.py", "    ordered = counts.most_common(top)\n", ORDER.replace("))\n", "))[:top]\n"))


def disregard_case() -> None:
    edit("tally/words.py", "_WORD.findall(text)", "_WORD.findall(text.lower())")
    edit("tally/words.py", "occurs in the text.", "occurs in the text, whatever the case of its letters.")
    add_test(
        "tests/test_words.py",
        "test_words_that_differ_only_in_case_are_one_word",
        'assert list(count_words("The the").values()) == [2]',
    )


def say_what_is_left_out() -> None:
    """Possible only where the task that brings `top` has landed."""
    report = "tally/report.py"
    if "top" not in Path(report).read_text():
        say("report() cannot leave anything out yet.")
        return
    edit(report, "the first `top`.\n", "the first `top`, and then how many were left out.\n")
    edit(
        report,
        LINES,
        '    lines = [f"{count:>5}  {word}" for word, count in ordered]\n'
        "    rest = len(counts) - len(ordered)\n"
        '    return [*lines, f"   ... and {rest} more"] if rest else lines\n',
    )
    add_test(
        "tests/test_report.py",
        "test_what_is_left_out_is_counted",
        'assert report(Counter({"or": 1, "be": 2}), top=1) == ["    2  be", "   ... and 1 more"]',
    )


TASKS: Playbook = {
    "Show only the most frequent words": show_only_the_most_frequent,
    "Count words regardless of case": disregard_case,
    "Say how many words were left out": say_what_is_left_out,
}
MENDING: Playbook = {
    "test_words_of_equal_count_are_in_alphabetical_order": order_words_of_equal_count,
}


# --- Editing -----------------------------------------------------------------------------------------------------


def edit(name: str, old: str, new: str) -> None:
    """Replace what is there once; what was replaced already, or is not as it was known, is left alone."""
    file = Path(name)
    text = file.read_text()
    if new not in text and text.count(old) == 1:
        file.write_text(text.replace(old, new))
        say(f"edited {name}")


def add_test(name: str, test: str, body: str) -> None:
    """Put a test at the end of a file that does not have it yet."""
    file = Path(name)
    text = file.read_text()
    if f"def {test}()" not in text:
        file.write_text(f"{text}\n\ndef {test}():\n    {body}\n")
        say(f"added {test} to {name}")


def say(text: str) -> None:
    """Print for `thrum task log`."""
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
