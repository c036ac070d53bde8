"""What phloem costs, measured beside a bare Trio checkpoint and a pump of the obvious kind."""
