"""YAML and options to jobs."""
