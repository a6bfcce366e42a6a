"""Attempts to read what is not the agent's."""

from tests.escapes import Attempt

_MEMORY = """
with open(f"/proc/{env['VICTIM']}/maps") as maps, open(f"/proc/{env['VICTIM']}/mem", "rb") as memory:
    for line in maps:
        if line.endswith("[stack]\\n"):
            begin, end = (int(part, 16) for part in line.split()[0].split("-"))
            memory.seek(begin)
            print(memory.read(end - begin).decode(errors="replace"))
"""
_VM_READ = """
with open(f"/proc/{env['VICTIM']}/stat") as file:
    begin = int(file.read().rpartition(")")[2].split()[47])  # where the arguments begin
room = ctypes.create_string_buffer(4096)
class Vector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]
here, there = Vector(ctypes.addressof(room), 4096), Vector(begin, 4096)
libc.process_vm_readv(int(env["VICTIM"]), ctypes.byref(here), 1, ctypes.byref(there), 1, 0)
print(room.raw.decode(errors="replace"))
"""
_SHM = """
libc.shmat.restype = ctypes.c_void_p
segment = libc.shmget(int(env["SHM_KEY"]), 4096, 0)
if segment >= 0:
    print(ctypes.string_at(libc.shmat(segment, None, 0o10000), 100).decode(errors="replace"))
"""
_HANDLE = """
# A handle names a file of a whole file system, past all mounts. It is made here of the inode's number alone.
class Handle(ctypes.Structure):
    _fields_ = [("size", ctypes.c_uint), ("kind", ctypes.c_int), ("data", ctypes.c_ubyte * 128)]
handle, mount = Handle(128), ctypes.c_int()
if libc.name_to_handle_at(-100, env["TREE"].encode(), ctypes.byref(handle), ctypes.byref(mount), 0) == 0:
    tree = os.open(env["TREE"], os.O_RDONLY)
    if libc.open_by_handle_at(tree, ctypes.byref(handle), os.O_RDONLY) >= 0:
        say()
"""

READING = (
    Attempt(name="read a private key in the HOME of Thrum's user", script='cat "$HOST_KEY"'),
    Attempt(name="read a variable of Thrum's own environment", script="env; export -p", none="held"),
    Attempt(name="read the environment of a process outside in /proc", script="cat /proc/$VICTIM/environ"),
    Attempt(name="read the environment of every process in /proc", script="cat /proc/[0-9]*/environ"),
    Attempt(name="read the command lines of processes outside", script="cat /proc/[0-9]*/cmdline"),
    Attempt(name="read a file by /proc/PID/root of a process outside", script='cat "/proc/$VICTIM/root/$TOKEN"'),
    Attempt(name="read a file by /proc/PID/cwd of a process outside", script='cat "/proc/$VICTIM/cwd/$TOKEN"'),
    Attempt(name="read a file that a process outside has open", script="cat /proc/$VICTIM/fd/0"),
    Attempt(name="read the memory of a process outside in /proc", script=_MEMORY, python=True, none="gets out as root"),
    Attempt(
        name="read the memory of a process outside by process_vm_readv",
        script=_VM_READ,
        python=True,
        none="gets out as root",
    ),
    Attempt(
        name="read what Thrum has open and did not close",
        script='for f in /proc/$$/fd/*; do [ ! -f "$f" ] || cat "$f"; done',
        none="held",
    ),
    Attempt(name="read the token of the project", script='cat "$TOKEN"'),
    Attempt(name="read the token by `..` through the mounts", script="cat ../../../../../token"),
    Attempt(name="read the token by a symbolic link in the work tree", script='ln -s "$TOKEN" soft; cat soft'),
    Attempt(name="read the token by a hard link in the work tree", script='ln "$TOKEN" hard && cat hard && rm hard'),
    Attempt(name="read a store", script='cat "$STORE"'),
    Attempt(name="read the clone of another slot", script='cat "$OTHER_SLOT"'),
    Attempt(name="read the agent's session of another task", script='cat "$SESSION"'),
    Attempt(name="read what lies in the /dev/shm of the host", script='cat "$SHARED"'),
    Attempt(name="read shared memory (System V) of the host", script=_SHM, python=True),
    Attempt(name="open a file by its handle, past all mounts", script=_HANDLE, python=True, none="gets out as root"),
    Attempt(
        name="read the passwords in /etc/shadow", script="grep -q ^root: /etc/shadow && say", none="gets out as root"
    ),
    Attempt(
        name="read the kernel's log",
        script="if libc.klogctl(3, ctypes.create_string_buffer(4096), 4096) > 0: say()",
        python=True,
        none="gets out as root",
    ),
    Attempt(
        name="read the disk below all files",
        script="for d in /dev/[vsx]d[a-z] /dev/nvme?n? /dev/mapper/*; do head -c 1 $d >/dev/null 2>&1 && say; done",
        none="not tried",
    ),
    Attempt(
        name="read the machine's memory",
        script="head -c 1 /proc/kcore >x && say || head -c 1 /dev/mem >x && say",
        none="not tried",
    ),
)
