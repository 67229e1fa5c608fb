"""Go templates and Sprig in Python: what glues the steps of a Story together."""
