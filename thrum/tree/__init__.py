"""The process tree of a project: what is spawned, how it is watched and stopped, and how commands reach it.

`spawning` knows the command line of every process, `supervisor` keeps them alive and ends them in order, `access`
joins what is up or brings up what is needed. No state of any task is here.
"""

from thrum.standing import state
from thrum.tree.access import attached, detach, down, reload, running, supervise

__all__ = ["attached", "detach", "down", "reload", "running", "state", "supervise"]
