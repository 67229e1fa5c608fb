"""The keys of an expression that is written as an object (spec expressions 2.4)."""

from __future__ import annotations

TEMPLATE_KEY = "$bubuTemplate"
"""Makes an object an expression: the object is replaced by what this string means."""

VARIABLES_KEY = "$bubuTemplateVars"
"""Variables of that expression besides the context; beside no template, an ordinary key."""
