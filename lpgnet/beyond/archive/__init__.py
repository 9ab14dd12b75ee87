"""A zip that verifies itself."""
