"""What is varied, and what came out."""
