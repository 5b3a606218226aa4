"""Claims: records with their artefacts, checked, filed and measured again."""
