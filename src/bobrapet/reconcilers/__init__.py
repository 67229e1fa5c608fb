"""One class per kind: gather, decide, apply."""
