"""Attempts on processes outside, and to leave one behind."""

from tests.escapes import Attempt

_ATTACH = """
if libc.ptrace(16, int(env["VICTIM"]), None, None) == 0:
    say()
"""
_WRITE_MEMORY = """
with open(f"/proc/{env['VICTIM']}/mem", "r+b"):
    say()
"""
_LIMITS = """
import resource
resource.prlimit(int(env["VICTIM"]), resource.RLIMIT_NOFILE, (64, 64))
say()
"""

PROCESSES = (
    Attempt(name="kill a process outside", script="kill -9 $VICTIM"),
    Attempt(name="stop a process outside (SIGSTOP)", script="kill -STOP $VICTIM"),
    Attempt(name="signal every process that there is", script="kill -9 -1", none="not tried"),
    Attempt(name="trace a process outside", script=_ATTACH, python=True, none="gets out as root"),
    Attempt(
        name="write to the memory of a process outside", script=_WRITE_MEMORY, python=True, none="gets out as root"
    ),
    Attempt(name="lower the limits of a process outside", script=_LIMITS, python=True),
    Attempt(
        name="slow a process outside down",
        script="os.setpriority(os.PRIO_PROCESS, int(env['VICTIM']), 19)\nsay()",
        python=True,
    ),
    Attempt(name="leave a process in the background", script='sh -c "sleep 600; :" "$0" & :', none="held"),
    Attempt(
        name="leave a process in a session of its own, forked twice, its environment cleared",
        script='(env -i setsid sh -c ": >begun; sleep 600; :" "$0" </dev/null >/dev/null 2>&1 &); '
        "until [ -e begun ]; do sleep 0.05; done; rm begun",
    ),
    Attempt(
        name="gain a better priority",
        script="os.setpriority(os.PRIO_PROCESS, 0, -5)\nsay()",
        python=True,
        none="gets out as root",
    ),
    Attempt(
        name="run before all others in real time",
        script="os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))\nsay()",
        python=True,
        none="not tried",
    ),
    Attempt(
        name="be spared when memory is short",
        script="with open('/proc/self/oom_score_adj', 'w') as file: file.write('-1000')\nsay()",
        python=True,
        none="not tried",
    ),
    Attempt(
        name="raise its own limits in the control groups",
        script="for f in $(find /sys/fs/cgroup -name '*.procs' -o -name 'memory.*limit*' -o -name memory.max "
        "-o -name pids.max | head -n 400); do { : >>$f; } 2>/dev/null && say; done; mkdir /sys/fs/cgroup/$MARK && say",
        none="not tried",
    ),
    Attempt(
        name="mount the control groups for itself",
        script="mkdir -p g; mount -t cgroup2 none g && say; mount -t cgroup -o pids none g && say",
        none="not tried",
    ),
)
