"""Attempts to change what is not the agent's."""

from tests.escapes import Attempt

WRITING = (
    Attempt(name="write to a file outside", script='echo "$MARK" >>"$OUTSIDE"'),
    Attempt(name="write outside by `..`", script='echo "$MARK" >../../out/planted'),
    Attempt(
        name="write by a symbolic link to a folder outside",
        script='ln -s "${OUTSIDE%/*}" way; echo "$MARK" >"way/$MARK"',
    ),
    Attempt(
        name="write by a hard link to a file outside",
        script='ln "$OUTSIDE" linked && echo "$MARK" >>linked && rm linked',
    ),
    Attempt(name="move a file out of the work tree", script='echo "$MARK" >"$MARK"; mv "$MARK" "${OUTSIDE%/*}"'),
    Attempt(name="write to the folder of a setup", script='echo "$MARK" >>"$SETUP"'),
    Attempt(
        name="write to a setup by a descriptor that is open for reading",
        script='exec 3<"$SETUP"; echo "$MARK" >>/proc/self/fd/3',
    ),
    Attempt(name="change mode and time of a setup's file", script='chmod 4777 "$SETUP"; touch -d 2001-01-01 "$SETUP"'),
    Attempt(
        name="mount a setup again, for writing",
        script='mount -o remount,bind,rw "${SETUP%/bin/*}"; mount -o remount,rw /; echo "$MARK" >>"$SETUP"',
        none="not tried",
    ),
    Attempt(name="write to the prompt", script='echo "$MARK" >>"$PROMPT"'),
    Attempt(name="write to the configuration of the project", script='echo "$MARK" >>"$CONFIG"'),
    Attempt(name="write to the token of the project", script='echo "$MARK" >>"$TOKEN"'),
    Attempt(name="write to a store", script='echo "$MARK" >>"$STORE"; echo "$MARK" >"${STORE%/*}/CURRENT"'),
    Attempt(name="write to the clone of another slot", script='echo "$MARK" >>"$OTHER_SLOT"'),
    Attempt(name="write to the agent's session of another task", script='echo "$MARK" >>"$SESSION"'),
    Attempt(name="put a folder beside the clone", script='mkdir "../$MARK"'),
    Attempt(name="leave a file in the /dev/shm of the host", script='touch "/dev/shm/$MARK"'),
    Attempt(name="write by /proc/PID/cwd of a process outside", script='echo "$MARK" >>"/proc/$VICTIM/cwd/$OUTSIDE"'),
    Attempt(name="open a program of the system for writing", script=": >>/usr/bin/env && say", none="gets out as root"),
    Attempt(
        name="plant a scheduled job",
        script='for d in /etc/cron.d /var/spool/cron/crontabs /etc/systemd/system; do : >"$d/$MARK" && say; done',
        none="not tried",
    ),
    Attempt(
        name="have the loader write with privileges",
        script="true",
        env={"LD_DEBUG": "libs", "LD_DEBUG_OUTPUT": "$TREE/loader"},
        none="not tried",
    ),
)
