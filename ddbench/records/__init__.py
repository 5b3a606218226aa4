"""The JSON file that a run leaves, and how it is written."""
