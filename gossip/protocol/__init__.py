"""What is said: messages, their bytes, and every limit on them."""
