"""What a method receives."""
