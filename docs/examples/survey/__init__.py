"""A survey of Python sources: a Stepwell graph, and a supervisor that kills its process."""
