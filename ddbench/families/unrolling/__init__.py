"""Training as a function that can be differentiated."""
