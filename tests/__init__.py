"""Tests: they mirror the four packages; fakes/ holds what they run against."""
