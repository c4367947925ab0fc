"""What a person sees of a simulation."""
