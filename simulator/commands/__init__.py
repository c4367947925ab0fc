"""The commands about many nodes and about attackers, one file a command; `simulator.cli` has the table of all."""
