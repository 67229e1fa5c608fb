"""Every check of an object, once. Pure."""
