"""What the tests run against: killed processes and damaged data."""
