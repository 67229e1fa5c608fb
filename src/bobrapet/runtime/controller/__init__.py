"""Controllers: options and construction. Import from the modules; see `builder` for the fluent way."""
