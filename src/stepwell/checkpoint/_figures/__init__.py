"""Figures of what is kept, a report on them, and whether a saver is well."""
