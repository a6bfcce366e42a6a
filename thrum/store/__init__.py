"""A repo actor's store: one synced write for each batch, and a log of events that proves itself.

Nothing here touches a disk. `rows` says what a store stands on and has it in memory, `layout` which rows hold
what, `store` opens, writes and loads, `audit` walks it all. `thrum.storage` puts the rows into LevelDB.
"""

from thrum.store.audit import verify
from thrum.store.rows import Changes, MemoryRows, Rows
from thrum.store.store import Store

__all__ = ["Changes", "MemoryRows", "Rows", "Store", "verify"]
