"""What bills: clouds, prices, and the record of every resource. Knows nothing of SSH."""
