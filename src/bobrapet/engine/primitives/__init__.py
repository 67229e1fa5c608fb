"""Step types that need no pod: each a few pure functions from a step and its state to the next state."""
