"""The artefact: one file that describes itself; read, checked, shown, converted, published."""
