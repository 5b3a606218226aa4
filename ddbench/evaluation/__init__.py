"""Protocols, and the training that scores an artefact by one."""
