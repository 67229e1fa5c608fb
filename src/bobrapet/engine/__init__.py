"""Pure decisions about runs: a snapshot and a moment in, a plan with its reasons out."""
