"""Long-term memory: documents under namespaces, shared by all threads of a program."""
