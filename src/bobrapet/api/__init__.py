"""The nouns: pydantic models of every kind, contracts, CRD generation."""
