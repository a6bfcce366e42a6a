"""Changes that must not land: wrong code, gates made blind, machines abused. `bad_proofs` has those of Gate 2."""

from __future__ import annotations

import sys

from tests.changes import HELD, Change
from tests.changes.repositories import CORE, FIXTURES, FORMAT, MAKE, OLD, PYPROJECT, SHEETS_CORE, TAKE, WORDS_CORE

WRONG = CORE.replace("return sum(numbers)", "return sum(numbers[1:])")
"""Fails the tests, and the smoke run."""
WRONG_WORDS = WORDS_CORE.replace("text.lower()", "text")
ALL_BUT_STYLE = "quality: test, build"


NESTED = (
    "git init -q NAME && git -C NAME -c user.name=A -c user.email=a@example.invalid commit -q --allow-empty -m Begin"
)


def in_a_test(name: str, body: str, said: str = "", **more: str) -> Change:
    """A new test, the first that pytest runs, with something that it does."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    text = f"import os\n\n\ndef test_first() -> None:\n{lines}    os.getpid()\n"
    stopped = "quality: test"
    return Change(name=name, repo="tally", files={f"tests/test_a_{name}.py": text}, stopped=stopped, said=said, **more)


GREEN = """\
import pytest


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport():
    outcome = yield
    outcome.get_result().outcome = "passed"
"""


PLAIN = (
    Change(name="wrong-logic", repo="tally", files={"tally/core.py": WRONG}, stopped=ALL_BUT_STYLE, said="test_total"),
    Change(
        name="wrong-in-one-case",
        repo="tally",
        files={"tally/core.py": CORE.replace("min(number, limit)", "max(number, limit)")},
        stopped="quality: test",
        said="test_bounded",
    ),
    in_a_test("a-new-test-that-fails", "assert 1 == 2", said="test_first"),
    Change(name="implementation-deleted", repo="tally", files={"tally/core.py": None}, stopped=ALL_BUT_STYLE),
    Change(
        name="syntax-error",
        repo="tally",
        files={"tally/core.py": CORE + "\ndef (\n"},
        stopped="quality: fmt, lint, test, build",
    ),
    Change(
        name="unformatted",
        repo="tally",
        files={"tally/more.py": "x = { 'a':1 }\n"},
        stopped="quality: fmt",
        said="more.py",
    ),
    Change(
        name="unused-import", repo="tally", files={"tally/more.py": "import os\n"}, stopped="quality: lint", said="F401"
    ),
    Change(
        name="calls-what-another-change-renames",
        repo="tally",
        files={
            "tally/more.py": "from tally import old\n\n\ndef more() -> int:\n    return old.doubled(4)\n",
            "tests/test_more.py": "from tally.more import more\n\n\ndef test_more() -> None:\n    assert more() == 8\n",
        },
        stopped="quality: test",
        said="doubled",
    ),
    Change(
        name="clashes-with-another-change",
        repo="tally",
        files={"tally/old.py": OLD.replace("doubled", "two_times")},
        script="sed -i s/doubled/two_times/ tests/test_old.py",
        stopped="conflict",
    ),
    Change(
        name="edits-what-becomes-a-conftest",
        repo="tally",
        files={"tests/fixtures.py": FIXTURES + GREEN.removeprefix("import pytest\n")},
        stopped="conflict",
    ),
)

NO_TESTS = (
    Change(
        name="test-files-renamed",
        repo="tally",
        files={},
        script="for file in tests/test_*.py; do mv $file tests/checks_${file#tests/test_}; done",
        stopped="quality: test",
        said="no tests ran",
    ),
    Change(
        name="tests-renamed",
        repo="tally",
        files={"tally/core.py": WRONG},
        script="sed -i 's/^def test_/def check_/' tests/test_*.py",
        stopped=ALL_BUT_STYLE,
        said="no tests ran",
    ),
    Change(
        name="tests-skipped",
        repo="tally",
        files={},
        script="sed -i '1i import pytest' tests/test_*.py && sed -i '$a pytestmark = pytest.mark.skip' tests/test_*.py",
        stopped="quality: test",
        said="ran no test",
    ),
    in_a_test("a-test-that-exits-with-0", "os._exit(0)"),
    in_a_test("a-test-that-exits-with-127", "os._exit(127)", said="127"),
    in_a_test("a-test-that-ends-by-a-signal", "os.kill(os.getpid(), 9)", said="SIGKILL"),
    Change(
        name="a-test-that-ends-the-session",
        repo="tally",
        files={
            "tests/test_a_session.py": "import pytest\n\n\ndef test_first() -> None:\n    assert True\n\n\n"
            'def test_second() -> None:\n    pytest.exit("done", returncode=0)\n',
            "tests/test_b_session.py": "def test_third() -> None:\n    assert 1 == 2\n",
        },
        stopped="quality: test",
    ),
)

DESELECTS = PYPROJECT.replace("[tool.ruff]", 'addopts = "-k total"\n\n[tool.ruff]')
PYTEST_INI = "[pytest]\npythonpath = .\naddopts = -k total\n"
# What turns the tests green leaves the smoke run alone: it is not to be what stops these.
WRONG_IN_TESTS = CORE.replace("min(number, limit)", "max(number, limit)")

BLINDING = tuple(
    Change(name=name, repo="tally", files={"tally/core.py": WRONG_IN_TESTS, **files}, stopped=HELD, said=said)
    for name, said, files in (
        ("conftest-turns-red-into-green", "conftest.py", {"conftest.py": GREEN}),
        ("pytest-ini-leaves-tests-out", "pytest.ini", {"pytest.ini": PYTEST_INI}),
        ("pyproject-leaves-tests-out", "pyproject.toml", {"pyproject.toml": DESELECTS}),
    )
) + tuple(
    Change(name=name, repo=repo, files=files, script=script, stopped=HELD, said=said)
    for name, repo, said, files, script in (
        (
            "conftest-leaves-tests-out",
            "tally",
            "tests/conftest.py",
            {"tally/core.py": WRONG_IN_TESTS},
            "echo 'collect_ignore = [\"test_core.py\"]' >> tests/conftest.py",
        ),
        ("sitecustomize", "words", "sitecustomize.py", {"sitecustomize.py": "import os\n"}, ""),
        ("a-pth-file", "words", "lib/early.pth", {"lib/early.pth": "import os; os.getpid()\n"}, ""),
        ("configuration-of-thrum", "words", "configs/pipeline.toml", {"configs/pipeline.toml": "[engine]\n"}, ""),
        (
            "a-filter-by-gitattributes",
            "words",
            ".gitattributes",
            {".gitattributes": "*.txt filter=evil\n", "note.txt": "a note\n"},
            'git config filter.evil.clean "touch $PLANTED; cat"; git config filter.evil.smudge "touch $PLANTED; cat"',
        ),
        ("attributes-in-a-folder", "words", "words/.gitattributes", {"words/.gitattributes": "*.py -text\n"}, ""),
        (
            "a-submodule",
            "words",
            ".gitmodules",
            {".gitmodules": '[submodule "vendor"]\n\tpath = vendor\n\turl = https://example.invalid/x\n'},
            NESTED.replace("NAME", "vendor"),
        ),
    )
)

MARKS = """\
import pathlib
import sys

FOLDERS = ["/tmp", "/dev/shm", "/var/tmp", str(pathlib.Path.home()), ".", "..", "../..", *sys.path]


def marked() -> bool:
    \"\"\"Whether a run before this one left a mark; leaves its own.\"\"\"
    marks = [pathlib.Path(folder, "left-by-a-check") for folder in FOLDERS]
    found = any(mark.exists() for mark in marks)
    for mark in marks:
        try:
            mark.write_text("green")
        except OSError:
            continue
    return found
"""
GREEN_ONCE_MARKED = CORE.replace("return sum(numbers)", "return sum(numbers) if SEEN else 0").replace(
    '"""Numbers."""\n', '"""Numbers."""\n\nfrom tally.marks import marked\n\nSEEN = marked()\n'
)

ABUSES = (
    in_a_test("an-endless-loop", "while True:\n    pass", said="time limit"),
    Change(
        name="a-flood-of-output",
        repo="tally",
        files={
            "tests/test_a_flood.py": "import os\n\n\ndef test_first(capfd) -> None:\n    with capfd.disabled():\n"
            '        while True:\n            os.write(1, b"x" * 65536)\n'
        },
        stopped="quality: test",
        said="bytes of output",
    ),
    in_a_test(
        "a-fork-bomb",
        "for _ in range(3000):\n    if not os.fork():\n        os.execvp('sleep', ['sleep', '60'])",
        needs="cgroup-writable",
    ),
    in_a_test("a-memory-hog", 'hog = [b"x" * 2**20 for _ in range(3000)]\nassert hog'),
    in_a_test("a-write-outside", 'with open("../outside", "w") as file:\n    file.write("here")', said="outside"),
    in_a_test(
        "a-write-into-git", 'with open("/usr/bin/git", "a") as file:\n    file.write("here")', said="/usr/bin/git"
    ),
    *(
        Change(
            name=f"marks-for-the-next-check-{number}",
            repo="tally",
            files={"tally/core.py": GREEN_ONCE_MARKED, "tally/marks.py": MARKS},
            stopped=ALL_BUT_STYLE,
        )
        for number in (1, 2)
    ),
    in_a_test(
        "a-process-left-behind",
        "import subprocess\n\nsubprocess.Popen(['sleep', '$SLEEP'], start_new_session=True, "
        "stdin=-3, stdout=-3, stderr=-3)\nassert 1 == 2",
    ),
    Change(
        name="a-hook-of-git",
        repo="tally",
        files={"tally/core.py": WRONG},
        script='printf "#!/bin/sh\\ntouch $PLANTED\\n" > .git/hooks/post-checkout || mkdir -p .git/hooks;'
        " for hook in post-checkout pre-commit post-index-change reference-transaction; do"
        ' printf "#!/bin/sh\\ntouch $PLANTED\\n" > .git/hooks/$hook; chmod +x .git/hooks/$hook; done;'
        ' git config core.fsmonitor "touch $PLANTED"; git config core.hooksPath .git/hooks',
        stopped=ALL_BUT_STYLE,
    ),
    Change(
        name="programs-in-the-checkout",
        repo="tally",
        files={"tally/core.py": WRONG},
        script='for name in pytest ruff bash sh git python3; do printf "#!/bin/sh\\nexit 0\\n" > $name;'
        " chmod +x $name; done",
        stopped=ALL_BUT_STYLE,
    ),
    Change(
        name="a-link-to-nowhere-for-a-source",
        repo="tally",
        files={},
        script="rm tally/core.py && ln -s /root/core.py tally/core.py",
        stopped="quality: fmt, lint, test, build",
    ),
    Change(
        name="a-link-out-of-the-tree",
        repo="tally",
        files={},
        script='rm tally/core.py && ln -s "$CHANGES/core.py" tally/core.py',
        stopped=HELD,
    ),
    Change(
        name="a-link-of-git-for-a-folder",
        repo="tally",
        files={},
        script="rm -r tally && " + NESTED.replace("NAME", "tally"),
        stopped="quality: fmt, lint, test, build",
    ),
    Change(
        name="a-link-of-git-without-a-submodule",
        repo="tally",
        files={},
        script=NESTED.replace("NAME", "vendor"),
        stopped=HELD,
    ),
)


def beside_words(name: str, body: str, said: str = "") -> Change:
    """Wrong code in the repository whose check is a pipeline, and a test that runs before those that tell."""
    test = f"import os\n\n\ndef test_first() -> None:\n    {body}\n"
    files: dict[str, str | None] = {"words/core.py": WRONG_WORDS, f"tests/test_a_{name}.py": test}
    return Change(name=name, repo="words", files=files, stopped="quality: test", said=said)


PIPED = (
    Change(
        name="hidden-by-a-pipeline",
        repo="words",
        files={"words/core.py": WRONG_WORDS},
        stopped="quality: test",
        said="1 failed",
    ),
    Change(
        name="no-tests-in-a-pipeline",
        repo="words",
        files={},
        script="sed -i 's/^def test_/def check_/' tests/test_*.py",
        stopped="quality: test",
    ),
    beside_words("kills-its-parent", "os.kill(os.getppid(), 9)", said="SIGKILL"),
    beside_words("kills-everything", "os.kill(-1, 9)"),
    beside_words("exits-with-0-in-a-pipeline", "os._exit(0)"),
    Change(
        name="a-module-in-place-of-the-runner",
        repo="words",
        files={"words/core.py": WRONG_WORDS, "pytest.py": 'print("2 passed in 0.01s")\n'},
        stopped=HELD,
        said="pytest.py",
    ),
)


def in_the_sheets(name: str, body: str, said: str) -> Change:
    """Wrong code in the repository whose check is a script, with something that it does when it is imported."""
    source = SHEETS_CORE.replace('"""Sheets."""', f'"""Sheets."""\n\n{body}').replace("rows * columns", "rows")
    return Change(name=name, repo="sheets", files={"sheets.py": source}, stopped="quality: test", said=said)


SCRIPTED = (
    Change(
        name="wrong-behind-a-script",
        repo="sheets",
        files={"sheets.py": SHEETS_CORE.replace("rows * columns", "rows")},
        stopped="quality: test",
        said="test_cells",
    ),
    in_the_sheets("exits-with-0-behind-a-script", "import os\n\nos._exit(0)", said="no known test runner"),
    Change(
        name="a-test-that-exits-with-0-behind-a-script",
        repo="sheets",
        files={
            "test_a.py": "import os\nimport unittest\n\n\nclass A(unittest.TestCase):\n"
            "    def test_first(self) -> None:\n        os._exit(0)\n"
        },
        stopped="quality: test",
        said="unittest was ended before",
    ),
)

UNRUNNABLE = tuple(
    Change(name=name, repo="sheets", files={}, script=script, stopped="quality: lint", said="bin/lint of the checkout")
    for name, script in (
        ("a-program-of-a-check-deleted", "rm bin/lint"),
        ("a-program-of-a-check-not-executable", "chmod -x bin/lint"),
    )
)

SETTINGS = "addopts = -k total\npythonpath = ."
PLUGIN = "[pytest11]\ngreen = tally.green\n"

COMPILED = (
    "import importlib.util as u, py_compile as c; "
    'c.compile("/tmp/right.py", u.cache_from_source("words/core.py"), "words/core.py", '
    "invalidation_mode=c.PycInvalidationMode.UNCHECKED_HASH)"
)
"""What makes Python run what was right, whatever the source says."""

BESIDE = 'from pathlib import Path\n\n__path__.append(str(Path(__file__).parents[2] / "tally"))\n'
"""A package that has what it lacks from the real one."""

UNSEEN = tuple(
    Change(name=name, repo=repo, files=files, stopped=HELD, said=said)
    for name, repo, said, files in (
        ("a-hidden-pytest-ini", "tally", ".pytest.ini", {".pytest.ini": f"[pytest]\n{SETTINGS}\n"}),
        (
            "a-plugin-by-its-metadata",
            "tally",
            "green-1.dist-info/entry_points.txt",
            {"green-1.dist-info/entry_points.txt": PLUGIN, "tally/green.py": '"""Nothing yet."""\n'},
        ),
        ("a-script-of-the-check", "sheets", "ci/t.sh", {"ci/t.sh": "echo 'Ran 1 test in 0.000s'; echo; echo OK\n"}),
        ("a-list-of-what-a-setup-installs", "sheets", "deps.lst", {"deps.lst": "./unittest\n"}),
        (
            "what-is-made-and-what-it-is-compared-with",
            "maker",
            "format.golden",
            {"make.py": MAKE.replace(repr(FORMAT), repr(FORMAT + " ")), "format.golden": FORMAT + " "},
        ),
        ("a-script-that-a-check-runs", "sheets", "bin/lint", {"bin/lint": "#!/bin/sh\nexit 0\n"}),
        (
            "a-plugin-by-its-metadata-in-capitals",
            "words",
            "GREEN-1.DIST-INFO/entry_points.txt",
            {
                "words/core.py": WRONG_WORDS,
                "GREEN-1.DIST-INFO/METADATA": "Metadata-Version: 2.1\nName: green\nVersion: 1\n",
                "GREEN-1.DIST-INFO/entry_points.txt": "[pytest11]\ngreen = words.green\n",
                "words/green.py": GREEN,
            },
        ),
        (
            "a-namesake-beside-the-tests",
            "tally",
            "tests/tally/__init__.py",
            {"tests/tally/__init__.py": BESIDE, "tests/tally/core.py": CORE, "tally/core.py": WRONG_IN_TESTS},
        ),
        ("an-object-file", "words", "src/main.o", {"src/main.o": "built elsewhere\n"}),
        ("a-package-of-node", "words", "node_modules/pad/index.js", {"node_modules/pad/index.js": "// changed\n"}),
        (
            "a-package-in-place-of-the-runner",
            "words",
            "pytest/__init__.py",
            {
                "words/core.py": WRONG_WORDS,
                "pytest/__init__.py": "",
                "pytest/__main__.py": 'print("2 passed in 0.01s")\n',
            },
        ),
        (
            "a-package-in-place-of-a-checks-module",
            "taker",
            "waitress/__init__.py",
            {"waitress/__init__.py": "", "waitress/__main__.py": ""},
        ),
        (
            "settings-of-a-linter-in-a-folder",
            "tally",
            "tally/ruff.toml",
            {"tally/ruff.toml": '[lint]\nselect = ["E"]\n', "tally/more.py": "import os\n"},
        ),
    )
)

MISLEADING = (
    Change(
        name="a-linter-that-is-told-to-ignore",
        repo="tally",
        files={".gitignore": "__pycache__\nmore.py\n", "tally/more.py": "import os\n"},
        script="git add --force tally/more.py",
        stopped=HELD,
        said=".gitignore",
    ),
    Change(
        name="a-compiled-module-in-place-of-its-source",
        repo="words",
        files={"words/core.py": WRONG_WORDS},
        script=f"git show HEAD:words/core.py >/tmp/right.py; {sys.executable} -c '{COMPILED}'; git add --force words",
        stopped=HELD,
        said="words/__pycache__/core",
    ),
)

WRONG_SUM = TAKE.replace("str(added", "str(1 + added")
"""Right in its tests. No line beside those that good changes touch: it would conflict with them."""

NEIGHBOURS = (
    Change(
        name="another-name-for-the-neighbour",
        repo="maker",
        files={"make.py": MAKE.replace('"n"', '"count"')},
        stopped="integration: take",
        said="KeyError",
    ),
    Change(
        name="no-artifact",
        repo="maker",
        files={"make.py": MAKE.replace("readings.json", "values.json")},
        stopped="integration: make",
        said="readings.json was not made",
    ),
    Change(
        name="an-artifact-of-another-digest",
        repo="maker",
        files={"make.py": MAKE.replace(repr(FORMAT), repr(FORMAT.replace("1", "2")))},
        stopped="integration: make",
        said="format.txt has the SHA-256",
    ),
    Change(
        name="a-link-for-an-artifact",
        repo="maker",
        files={"make.py": MAKE.replace(".write_text(FORMAT)", ".symlink_to('/etc/passwd')")},
        stopped="integration: make",
        said="format.txt",
    ),
    Change(
        name="asks-too-much-of-its-neighbour",
        repo="taker",
        files={"take.py": TAKE.replace("version 1", "version 2")},
        stopped="integration: take",
        said="version 2",
    ),
    Change(
        name="a-wrong-sum-of-real-data",
        repo="taker",
        files={"take.py": WRONG_SUM},
        stopped="integration: take",
        said="sum.txt is not as expected",
    ),
    *(
        Change(
            name=name,
            repo="taker",
            files={"take.py": f"{WRONG_SUM}    folder = pathlib.Path(sys.argv[1])\n    {rewrites}\n"},
            stopped="integration: take",
            said="sum.txt is not as expected",
        )
        for name, rewrites in (
            ("a-step-that-rewrites-its-judge", 'pathlib.Path("judge.py").write_text("")'),
            (
                "a-step-that-rewrites-what-it-is-compared-with",
                '(folder / "readings.json").write_text(\'{"all": {"n": \' + (folder / "sum.txt").read_text() + "}}")',
            ),
        )
    ),
)

BAD = (*PLAIN, *NO_TESTS, *BLINDING, *ABUSES, *PIPED, *SCRIPTED, *UNRUNNABLE, *UNSEEN, *MISLEADING, *NEIGHBOURS)
