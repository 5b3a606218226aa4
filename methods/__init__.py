"""One distillation method a file. `ddbench.discover()` imports and registers them all."""
