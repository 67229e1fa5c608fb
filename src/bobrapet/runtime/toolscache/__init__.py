"""Reflectors, informers and the store behind them (client-go tools/cache)."""
