"""Media in: photos and where they come from."""
