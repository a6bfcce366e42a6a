"""Files that must be right: durable writes, kept outputs, locks, the token, sockets' directories, removal.

Whatever another user or an untrusted program may have put in the way is refused, never followed.
"""

from thrum.files.durable import sync_directory, write_atomically
from thrum.files.lock import Holder, Lock, holder_of
from thrum.files.outputs import OutputStore
from thrum.files.printed import Printed, Printing, text_of
from thrum.files.private import runtime_directory, secret
from thrum.files.removal import remove_tree
from thrum.files.untrusted import open_untrusted, read_untrusted, write_untrusted

__all__ = [
    "Holder",
    "Lock",
    "OutputStore",
    "Printed",
    "Printing",
    "holder_of",
    "open_untrusted",
    "read_untrusted",
    "remove_tree",
    "runtime_directory",
    "secret",
    "sync_directory",
    "text_of",
    "write_atomically",
    "write_untrusted",
]
