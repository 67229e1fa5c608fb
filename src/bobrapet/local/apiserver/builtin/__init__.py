"""What the built-in kinds do beyond being stored: defaults, checks, what a write may change."""
