"""One class per kind: gather from the cache, ask a pure function, apply the answer.

The only rooms that await the API server. A pass reads cached objects only, never older than this process's own last
write to them; every write may be repeated; nothing is kept in memory that the cluster could not tell again.
"""
