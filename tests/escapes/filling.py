"""Attempts to use up the machine, or never to end; in a sandbox with small limits (`LIMITS`)."""

# ruff: noqa: E501 - scripts

from tests.escapes import Filling

LIMITS = {
    "memory_limit_mb": 128,
    "pids_limit": 64,
    "file_size_limit_mb": 8,
    "disk_limit_mb": 32,
    "disk_limit_files": 3000,
}
OUTPUT_BYTES = 1_000_000
MOST_BYTES = 256 << 20
"""What may lie in the work tree after a run, at the very most: the disk is looked at only once a second."""
MOST_FILES = 200_000

_MEMORY = r"memory limit of 128 MiB reached"
_DISK = r"disk limit of 32 MiB reached"
_FILES = r"disk limit of 3000 files reached"
_TIME = r"ended after [\d.]+ s, its time limit"

FILLING = (
    Filling(
        name="fork without end",
        script="f() { f | f & }; f; sleep 600 & wait; exec sleep 600",
        ends=rf"{_TIME}|limit of 64 processes reached.*|killed by .*|exit code .*",
        wall_s=4,
    ),
    Filling(
        name="start threads without end",
        script="import threading\nwhile True: threading.Thread(target=threading.Event().wait, daemon=True).start()",
        python=True,
        ends=r"limit of 64 processes reached.*|memory limit.*",
    ),
    Filling(
        name="fill the memory",
        script="held = []\nwhile True: held.append(bytes(1 << 20).replace(b'\\0', b'x'))",
        python=True,
        ends=_MEMORY,
    ),
    Filling(
        name="fill the memory by many processes",
        script="for i in 1 2 3 4 5 6; do python3 -c 'import time; x = b\"x\" * (40 << 20); time.sleep(600)' & done; for i in 1 2 3 4 5 6; do wait -n || exit 9; done 2>/dev/null || wait",
        ends=rf"{_MEMORY}|{_TIME}",
        wall_s=8,
    ),
    Filling(
        name="fill the scratch space in memory",
        script="i=0; while head -c 7M /dev/zero >/tmp/$i; do i=$((i+1)); done; exit 9",
        ends=rf"{_MEMORY}|exit code .*",
    ),
    Filling(
        name="fill /dev/shm",
        script="i=0; while head -c 7M /dev/zero >/dev/shm/$i; do i=$((i+1)); done; exit 9",
        ends=rf"{_MEMORY}|exit code .*",
    ),
    Filling(
        name="write one large file", script="exec head -c 1G /dev/zero >big", ends="file size limit of 8 MiB reached"
    ),
    Filling(
        name="make a file of a terabyte that is one hole",
        script="exec truncate -s 1T hole",
        ends="file size limit of 8 MiB reached|exit code 1",
    ),
    Filling(
        name="fill the disk by many files",
        script="for i in 1 2 3 4 5 6 7 8; do head -c 7M /dev/zero >$i; done; exec sleep 600",
        ends=_DISK,
    ),
    Filling(
        name="fill the disk by files that are deleted but open",
        script='for i in 3 4 5 6 7 8 9; do eval "exec $i>f; rm f; head -c 7M /dev/zero >&$i"; done; exec sleep 600',
        ends=_DISK,
    ),
    Filling(
        name="fill the disk where no path reaches",
        script="""
for _ in range(600):
    os.mkdir("d" * 20)
    os.chdir("d" * 20)
for i in range(8):
    with open(str(i), "wb") as file: file.write(b"x" * (7 << 20))
import time; time.sleep(600)
""",
        python=True,
        ends=_DISK,
    ),
    Filling(
        name="use up the inodes by empty files",
        script="mkdir i; cd i; seq 3200 | xargs touch; exec sleep 600",
        ends=_FILES,
    ),
    Filling(
        name="use up the inodes by links and pipes",
        script="""
os.mkdir("i")
for i in range(1600):
    os.mkfifo(f"i/{i}")
    os.symlink("/", f"i/{i}l")
import time; time.sleep(600)
""",
        python=True,
        ends=_FILES,
    ),
    Filling(
        name="nest folders deeper than any path",
        script="""
for _ in range(3200):
    os.mkdir("d")
    os.chdir("d")
import time; time.sleep(600)
""",
        python=True,
        ends=_FILES,
    ),
    Filling(
        name="give files names with newlines and escapes",
        script="""
for i in range(100):
    open(f"{i}\\n\\x1b[2J\\x1b]0;owned\\x07", "w").close()
""",
        python=True,
    ),
    Filling(
        name="print without end",
        script="exec tr '\\0' x </dev/zero",
        ends="ended at 1000000 bytes of output, its limit",
    ),
    Filling(
        name="print without end by a process in the background",
        script="(tr '\\0' x </dev/zero &) ; exec sleep 600",
        ends="ended at 1000000 bytes of output, its limit",
    ),
    Filling(name="compute without end", script="while :; do :; done", ends=_TIME, wall_s=2),
    Filling(
        name="ignore the order to end", script="trap '' TERM INT HUP; while :; do sleep 1; done", ends=_TIME, wall_s=1
    ),
    Filling(name="stop itself", script="kill -STOP $$; exec sleep 600", ends=rf"{_TIME}|exit code 147", wall_s=1),
    Filling(
        name="stop or kill what watches it inside",
        script="for p in /proc/[0-9]*; do p=${p#/proc/}; [ $p = $$ ] || kill -STOP $p; done; kill -STOP 1; kill -9 1; exec sleep 600",
        ends=rf"{_TIME}|killed by .*|the container ended.*",
        wall_s=2,
    ),
    Filling(name="close its output and go on", script="exec >&- 2>&-; exec sleep 600", ends=_TIME, wall_s=1),
    Filling(
        name="use up descriptors",
        script="""
held = []
try:
    while True: held.append(os.open("/dev/null", os.O_RDONLY))
except OSError:
    raise SystemExit(9)
""",
        python=True,
        ends=rf"exit code 9|{_MEMORY}|{_TIME}",
        wall_s=15,
    ),
)
