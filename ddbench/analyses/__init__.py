"""Questions about an artefact other than accuracy, one file each; `analysis.py` says what an analysis is."""
