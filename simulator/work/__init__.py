"""Who computes, and how far it is."""
