"""One machine over SSH. Knows nothing of clouds."""
