"""What a person sees of a node."""
