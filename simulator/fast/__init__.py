"""The array engine: all nodes of a synchronous scenario as stacked tensors."""
