"""Configuration, resolved: the operator's own (`operator`), and what every layer says about a step (`policy`)."""
