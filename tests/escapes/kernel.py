"""Attempts to get at the kernel, or to gain privileges."""

from tests.escapes import Attempt

_NAMESPACE = """
for flag in (0x10000000, 0x10000000 | 0x20000, 0x20000, 0x40000000, 0x20000000, 0x02000000):
    if os.fork() == 0:
        if call((272, 97), flag) == "done":
            say()
        os._exit(0)
    os.wait()
"""
_CLONE = """
if libc.syscall(ctypes.c_long((56, 220)[machine]), ctypes.c_long(0x10000011), *[ctypes.c_long(0)] * 4) >= 0:
    say()
"""
_CLONE3 = """
arguments = ctypes.create_string_buffer(struct.pack("=8Q", 0x10000000, 0, 0, 0, 17, 0, 0, 0))
if libc.syscall(ctypes.c_long(435), ctypes.byref(arguments), ctypes.c_long(64)) >= 0:
    say()
"""
_FOREIGN = """
# getpid by the number of another convention: it would pass a filter that looks at numbers alone
if machine == 0 and call((0x40000000 + 39, 0)) == "done":
    say()
"""
_TERMINAL = """
import fcntl, pty, termios
leader, follower = pty.openpty()
os.setsid() if os.getpid() != os.getsid(0) else None
fcntl.ioctl(follower, termios.TIOCSCTTY, 0)
fcntl.ioctl(follower, termios.TIOCSTI, b"x")
say()
"""
_CLOCK = """
told = ctypes.create_string_buffer(512)
libc.adjtimex(told)
struct.pack_into("=I", told, 0, 0x4000)  # to the very pace that it has
if libc.adjtimex(told) >= 0:
    say()
"""
_WRITABLE = """
for path in ({paths}):
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_APPEND))
        say()
    except OSError:
        pass
"""


def _syscall(x86: int, other: int, *arguments: int, refused: str = '("EPERM", "ENOSYS", "EACCES")') -> str:
    told = ", ".join(map(str, arguments))
    return f"if call(({x86}, {other}), {told}) not in {refused}: say()"


KERNEL = (
    Attempt(
        name="become root by a set-user-id program",
        script='su -c "echo got out: $MARK" </dev/null || sudo -n echo "got out: $MARK"',
        none="gets out as root",
    ),
    Attempt(name="become root by setuid", script="os.setuid(0)\nsay()", python=True, none="gets out as root"),
    Attempt(name="make new namespaces", script=_NAMESPACE, python=True, none="gets out as root"),
    Attempt(name="make a user namespace by clone", script=_CLONE, python=True, none="gets out as root"),
    Attempt(name="make a user namespace by clone3", script=_CLONE3, python=True, none="gets out as root"),
    Attempt(
        name="enter the namespaces of a process outside",
        script="nsenter -t $VICTIM -m -n -p true && say",
        none="gets out as root",
    ),
    Attempt(
        name="mount a file system",
        script="mkdir -p m; mount -t tmpfs none m && say; mount -t proc proc m && say",
        none="not tried",
    ),
    Attempt(
        name="change the root directory",
        script="os.chroot('/proc/self/cwd')\nsay()",
        python=True,
        none="gets out as root",
    ),
    Attempt(
        name="make a device file of the disk", script="mknod disk b 254 0 && say; rm -f disk", none="gets out as root"
    ),
    Attempt(name="load a module into the kernel", script=_syscall(175, 105, 0, 0, 0), python=True, none="not tried"),
    Attempt(name="restart the machine", script=_syscall(169, 142, 0, 0, 0, 0), python=True, none="gets out as root"),
    Attempt(name="set the clock", script=_CLOCK, python=True, none="gets out as root"),
    Attempt(name="get at the keyrings", script=_syscall(250, 219, 0, -3, 0), python=True),
    Attempt(
        name="load a program into the kernel (bpf)",
        script=_syscall(321, 280, 0, 0, 0),
        python=True,
        none="gets out as root",
    ),
    Attempt(name="watch the processors (perf_event_open)", script=_syscall(298, 241, 0, 0, 0, 0, 0), python=True),
    Attempt(
        name="handle page faults (userfaultfd)", script=_syscall(323, 282, 0), python=True, none="gets out as root"
    ),
    Attempt(name="use io_uring", script=_syscall(425, 425, 1, 0), python=True, none="not tried"),
    Attempt(name="call the kernel by another machine's numbers", script=_FOREIGN, python=True, none="not tried"),
    Attempt(name="type into a terminal (TIOCSTI)", script=_TERMINAL, python=True, none="not tried"),
    Attempt(
        name="set what the kernel runs outside (core_pattern, modprobe, hotplug)",
        script=_WRITABLE.format(
            paths="'/proc/sys/kernel/core_pattern', '/proc/sys/kernel/modprobe', '/sys/kernel/uevent_helper'"
        ),
        python=True,
        none="gets out as root",
    ),
    Attempt(
        name="press the kernel's magic keys (sysrq-trigger)",
        script=_WRITABLE.format(paths="'/proc/sysrq-trigger', '/proc/sys/kernel/sysrq'"),
        python=True,
        none="not tried",
    ),
    Attempt(
        name="set what all of the machine lives by (/proc/sys, /sys)",
        script=_WRITABLE.format(paths="'/proc/sys/vm/drop_caches', '/proc/sys/kernel/pid_max', '/sys/power/state'"),
        python=True,
        none="gets out as root",
    ),
)
