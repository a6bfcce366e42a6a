"""One child process: limits, output, endings. Everything real; the children are shells."""

from __future__ import annotations

import os
import resource
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import until
from thrum.errors import SandboxError
from thrum.files import Printed
from thrum.job import Ending, Job, Outcome
from thrum.sandbox import process
from thrum.sandbox.process import Launch, StopEvent

FLOOD = "exec tr '\\0' x </dev/zero"


def job(**settings: Any) -> Job:
    return Job(argv=("sh",), cwd="/", **{"wall_s": 60.0, **settings})


def launch(script: str, **settings: Any) -> Launch:
    argv = ("/bin/sh", "-c", script)
    return Launch(argv=argv, env={"PATH": os.defpath}, cwd="/", **settings)


def run(script: str, *, grace_s: float = 10.0, stop: threading.Event | None = None, **settings: Any) -> Outcome:
    return process.run(launch(script), job(**settings), grace_s=grace_s, stop=stop)


def test_a_program_that_ends_well_has_output_and_no_reason() -> None:
    outcome = run("echo out; echo err >&2")
    assert outcome.ok
    assert (outcome.tail, outcome.output_bytes, outcome.reason) == ("out\nerr\n", 8, "")
    assert 0 < outcome.duration_s < 60


def test_an_exit_code_is_told() -> None:
    outcome = run("exit 7")
    assert (outcome.ending, outcome.exit_code, outcome.signal) == (Ending.EXITED, 7, None)
    assert outcome.reason == "exit code 7"


def test_a_signal_is_told_as_one() -> None:
    outcome = run("kill -SEGV $$")
    assert (outcome.exit_code, outcome.signal) == (None, signal.SIGSEGV)
    assert outcome.reason == "killed by SIGSEGV"


def test_the_whole_output_is_kept(tmp_path: Path) -> None:
    kept = tmp_path / "out"
    outcome = run("seq 1 50000", output_path=str(kept), tail_bytes=12)
    assert outcome.output_bytes == kept.stat().st_size == 288_894
    assert outcome.tail == "49999\n50000\n"


def test_a_flood_is_ended_at_its_limit_and_not_kept_past_it(tmp_path: Path) -> None:
    outcome = run(FLOOD, output_path=str(tmp_path / "out"), output_limit_bytes=100_000)
    assert outcome.ending is Ending.OUTPUT_LIMIT
    assert outcome.output_bytes == Printed(tmp_path / "out").total_bytes > 100_000
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 100_000
    assert "100000 bytes" in outcome.reason


def test_a_flood_that_ends_by_itself_is_past_its_limit_all_the_same() -> None:
    assert run("seq 1 100", output_limit_bytes=100).ending is Ending.OUTPUT_LIMIT


def test_the_middle_is_dropped_where_the_limit_does_not_end(tmp_path: Path) -> None:
    kept = tmp_path / "o"
    outcome = run("seq 1 50000; exit 3", output_limit_bytes=1000, output_limit_ends=False, output_path=str(kept))
    assert (outcome.exit_code, outcome.output_bytes) == (3, 288_894)
    text = b"".join(Printed(kept).since())
    assert (text.startswith(b"1\n2\n"), text.endswith(b"50000\n"), b"bytes are missing here" in text) == (True,) * 3


def test_what_was_printed_is_on_disk_while_the_program_runs(tmp_path: Path) -> None:
    seen: list[bytes] = []
    kept = Printed(tmp_path / "o")
    running = job(output_path=str(tmp_path / "o"), wall_s=60.0)
    process.run(launch("echo one; echo two"), running, on_output=lambda _: seen.append(b"".join(kept.since())))
    assert seen[0].startswith(b"one\n")
    assert seen[-1] == b"one\ntwo\n"


def test_an_endless_loop_meets_the_time_limit() -> None:
    outcome = run("while :; do :; done", wall_s=0.2)
    assert (outcome.ending, outcome.exit_code, outcome.signal) == (Ending.TIMED_OUT, None, None)
    assert "0.2 s" in outcome.reason


def test_a_program_that_ignores_sigterm_is_killed_after_the_grace() -> None:
    began = time.monotonic()
    outcome = run("trap '' TERM; echo ready; while :; do sleep 600; done", wall_s=2.0, grace_s=0.2)
    assert outcome.ending is Ending.TIMED_OUT
    assert outcome.tail == "ready\n"
    assert 2.2 <= time.monotonic() - began < 120


def test_a_program_gets_to_say_its_last_words() -> None:
    outcome = run(
        "trap 'echo bye; exit 0' TERM; echo hi; while :; do sleep 60 & wait; done", silence_s=2.0, grace_s=60.0
    )
    assert outcome.ending is Ending.SILENT
    assert outcome.tail == "hi\nbye\n"


def test_silence_is_counted_from_the_last_output() -> None:
    outcome = run("for i in 1 2 3 4 5; do sleep 0.5; echo $i; done; sleep 600", silence_s=2.0)
    assert outcome.ending is Ending.SILENT
    assert outcome.tail == "1\n2\n3\n4\n5\n"


def test_closing_the_output_is_silence() -> None:
    assert run("exec >&- 2>&-; sleep 60", silence_s=0.2).ending is Ending.SILENT


def test_a_child_that_closed_its_output_still_tells_its_code() -> None:
    assert run("exec >&- 2>&-; sleep 0.1; exit 5").exit_code == 5


def test_a_stranger_that_holds_the_pipe_does_not_hang_us() -> None:
    class Lenient(Launch):
        def clear(self, pid: int) -> None:
            pass

    held = Lenient(argv=("/bin/sh", "-c", "sleep 600 & echo $!"), env={"PATH": os.defpath}, cwd="/")
    outcome = process.run(held, job())
    os.kill(int(outcome.tail), signal.SIGKILL)
    assert outcome.ok
    assert outcome.duration_s < 120


def test_what_stays_in_the_process_group_is_killed() -> None:
    outcome = run("sleep 60 & echo $!")
    assert outcome.ok
    until(lambda: not alive(int(outcome.tail)))


@pytest.mark.parametrize("kind", [threading.Event, StopEvent])
def test_a_stop_event_ends_the_run(kind: type[threading.Event]) -> None:
    stop = kind()
    outcome = process.run(launch("echo ready; sleep 600"), job(wall_s=600.0), stop=stop, on_output=lambda _: stop.set())
    assert (outcome.ending, outcome.tail) == (Ending.STOPPED, "ready\n")
    assert outcome.duration_s < 120


def test_a_stop_event_wakes_a_run_that_waits() -> None:
    stop = StopEvent()
    timer = threading.Timer(0.1, stop.set)
    timer.start()
    assert run("sleep 60", stop=stop).ending is Ending.STOPPED
    timer.join()


def test_a_stop_event_can_be_used_again() -> None:
    stop = StopEvent()
    stop.set()
    stop.set()
    stop.clear()
    assert run("true", stop=stop).ok


def test_nothing_runs_after_the_stop(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    assert run(f"touch {tmp_path}/ran", stop=stop).ending is Ending.STOPPED
    assert not (tmp_path / "ran").exists()


def test_standard_input_is_empty_or_the_file(tmp_path: Path) -> None:
    given = tmp_path / "a 'prompt"
    given.write_text("hello")
    assert run("cat; echo end").tail == "end\n"
    assert run("cat", stdin_path=str(given)).tail == "hello"


@pytest.mark.parametrize(
    "settings",
    [{"stdin_path": "/nonexistent/in"}, {"output_path": "/nonexistent/out"}],
    ids=["stdin", "output"],
)
def test_a_file_that_cannot_be_opened_means_not_started(settings: dict[str, Any]) -> None:
    outcome = run("true", **settings)
    assert outcome.ending is Ending.NOT_STARTED
    assert "/nonexistent/" in outcome.reason


def test_a_nul_character_in_an_argument_means_not_started() -> None:
    assert run("echo \0").ending is Ending.NOT_STARTED


def test_an_argument_that_is_too_long_means_not_started() -> None:
    assert run("#" * 200_000).ending is Ending.NOT_STARTED


def test_nothing_runs_outside_of_its_group(tmp_path: Path) -> None:
    refused = process.run(launch(f"touch {tmp_path}/ran", groups=(f"{tmp_path}/missing/tasks",)), job())
    assert not refused.ok
    assert not (tmp_path / "ran").exists()
    full = process.run(launch(f"touch {tmp_path}/ran", groups=("/dev/full",)), job())
    assert not full.ok
    assert not (tmp_path / "ran").exists()


def test_a_file_size_limit_binds(tmp_path: Path) -> None:
    limited = launch(f"exec head -c 2000000 /dev/zero >{tmp_path}/big", rlimits=process.file_size_limit(1))
    outcome = process.run(limited, job())
    assert (tmp_path / "big").stat().st_size == 1 << 20
    assert outcome.signal == signal.SIGXFSZ
    assert outcome.reason == "file size limit of 1 MiB reached"


def test_a_resource_limit_above_our_own_does_not_fail() -> None:
    ceiling = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    limited = launch("ulimit -n", rlimits=((resource.RLIMIT_NOFILE, ceiling + 1),))
    assert process.run(limited, job()).tail == f"{ceiling}\n"


def test_an_error_in_our_own_callback_ends_the_child() -> None:
    seen: list[bytes] = []

    def fail(data: bytes) -> None:
        seen.append(data)
        raise ValueError("ours")

    with pytest.raises(ValueError, match="ours"):
        process.run(launch("echo $$; sleep 60"), job(), on_output=fail)
    assert not alive(int(seen[0]))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_output_that_cannot_be_kept_is_an_error_and_ends_the_child() -> None:
    with pytest.raises(SandboxError, match="No space left"):
        run("echo hi; sleep 60", output_path="/dev/full")


def test_no_descriptor_of_ours_is_left_behind(tmp_path: Path) -> None:
    def count() -> int:
        return len(os.listdir("/proc/self/fd"))

    run("true")
    before = count()
    for _ in range(3):
        run("exit 1", output_path=str(tmp_path / "out"))
        run("echo \0")
        run("sleep 60", wall_s=0.01)
    assert count() == before


def test_a_child_has_no_descriptor_but_the_three() -> None:
    assert run("ls /proc/self/fd | wc -l").tail.strip() == "4"  # ls itself has the directory open


def alive(pid: int) -> bool:
    """Whether the process runs; one that is dead and not yet reaped does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"
