"""Projects for tests that go through the `thrum` command: a repository, a configuration, and a scripted agent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.repositories import make_repository

SOURCE = Path(__file__).parent.parent

AGENT = r"""
case "$1" in
  *DO-NOTHING*) echo "nothing to do" ;;
  *READ-PIPE*) echo "before the pipe"; cat go; echo "after the pipe"; echo waited > waited.txt ;;
  *BE-RED*) case "$1" in *"it is red"*) echo green > colour.txt ;; *) echo red > colour.txt ;; esac ;;
  *SHOW-KEY*) echo "the key is $MODEL_KEY"; echo "$MODEL_KEY" >> key.txt; echo red > colour.txt ;;
  *STEER*) printf 'red \033[31m \302\205 \342\200\256 alert\n'; echo x > x.txt ;;
  *) echo "working"; echo "line" >> notes.txt ;;
esac
"""
"""What the agent does follows from its prompt. `go` is a named pipe that a test makes, see `pipe`."""

LINT = "! grep -qs red colour.txt || { echo 'it is red'; exit 1; }"


class ThrumProject:
    """A project directory with one repository, `demo`, beside its configuration."""

    def __init__(self, directory: Path, **tables: str) -> None:
        """`tables` add to the configuration: `repo` to `[[repo]]`, `pipeline` to the end of pipeline.toml."""
        self.directory = directory
        self.repo = make_repository(directory / "demo")
        self.configure(**tables)

    def configure(self, *, repo: str = "", pipeline: str = "", lint: str = LINT) -> None:
        """Write the configuration."""
        script = AGENT.replace("cat go", f"cat '{self.directory / 'go'}'")
        agent = f"""
[[backends]]
name = "script"
type = "agent"
command = "sh"
api_key_env = "MODEL_KEY"
prompt_args = ["-c", {json.dumps(script)}, "agent", "{{prompt}}"]
"""
        folder = self.directory / "configs"
        folder.mkdir(exist_ok=True)
        (folder / "repos.toml").write_text(
            f'[[repo]]\nname = "demo"\npath = "demo"\nlint_cmd = {json.dumps(lint)}\n{repo}\n'
        )
        (folder / "pipeline.toml").write_text(
            f'[sandbox]\nbackend = "none"\n[engine]\nmax_retries = 1\ngate_actors = 1\n{agent}\n{pipeline}\n'
        )

    def command(self, *args: str, code: int | None = 0, stdin: str = "", **variables: str) -> Ran:
        """Run `thrum` in the project directory to its end; `code` is the exit code that it must have."""
        ran = subprocess.run(
            [sys.executable, "-m", "thrum", *args],
            cwd=self.directory,
            env=environment(variables),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=300,
        )
        found = Ran(args, ran.returncode, ran.stdout, ran.stderr)
        assert code is None or found.code == code, found.told()
        return found

    def json(self, *args: str, code: int | None = 0, **variables: str) -> Any:
        """What `thrum ARGS --json` prints, which must be JSON alone."""
        return self.command(*args, "--json", code=code, **variables).json()

    def add(self, title: str, *args: str) -> str:
        """Queue a task; its id."""
        return self.command("task", "add", "--title", title, *args).out.strip()

    def started(self, *args: str, **variables: str) -> subprocess.Popen[str]:
        """Start `thrum` in the project directory, in a process group of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "thrum", *args],
            cwd=self.directory,
            env=environment(variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def pipe(self) -> Path:
        """The named pipe that an agent with `READ-PIPE` in its prompt reads from."""
        path = self.directory / "go"
        if not path.exists():
            os.mkfifo(path)
        return path

    @contextmanager
    def up(self, *args: str) -> Iterator[dict[str, Any]]:
        """Have `thrum up` running for the block."""
        state = self.json("up", "--detach", *args)
        try:
            yield state
        finally:
            self.command("down", "--now", code=None)


class Ran:
    """How a command ended."""

    def __init__(self, args: tuple[str, ...], code: int, out: str, err: str) -> None:
        self.args, self.code, self.out, self.err = args, code, out, err

    def json(self) -> Any:
        return json.loads(self.out)

    def told(self) -> str:
        return f"thrum {' '.join(self.args)}: {self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Ours, with what Thrum itself looks at taken out."""
    ours = {key: value for key, value in os.environ.items() if not key.startswith(("THRUM_", "NO_COLOR"))}
    path = os.pathsep.join(filter(None, (str(SOURCE), ours.get("PYTHONPATH"))))
    return {**ours, "PYTHONPATH": path, **variables}
