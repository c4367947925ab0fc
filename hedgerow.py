"""hedgerow: a learning node without a server. The `hedgerow` command, and the names that users import.

    import hedgerow
    task = hedgerow.Task(model, train=(x, y), test=(x_test, y_test))
    print(hedgerow.simulate(task, nodes=20, rules=["mean", "hedgerow"]))   # many nodes here
    hedgerow.run(task, join=["10.0.0.7:7700"])                             # one node, with others
"""

from __future__ import annotations

__version__ = "0.1.0"
