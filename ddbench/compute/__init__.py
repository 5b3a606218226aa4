"""Access to the machine: device, clock, memory, operations, compilation, random generators, environment."""
