"""The commands about one node, one file a command; `simulator.cli` has the table of all commands."""
