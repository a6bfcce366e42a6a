"""All of Thrum's actors in one process: a virtual clock, one random number generator, and everything goes wrong.

Real are the ledger, the scheduler's machine, the broker's router, the packed frames and the store over memory.
Simulated are git, workers, gate actors and people (`world`, `bus`, `git`, `processes`, `people`). What must hold
whatever happens is checked from outside (`promises`). A run is a function of its seed alone.
"""

from tests.simulation.house import Plan, Simulation
from tests.simulation.promises import Broken

__all__ = ["Broken", "Plan", "Simulation"]
