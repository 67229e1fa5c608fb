"""Operator configuration and the policy chain. Pure."""
