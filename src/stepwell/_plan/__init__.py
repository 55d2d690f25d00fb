"""The planner: which tasks run next, and what their writes do to the state. Pure.

No await, no clock, no randomness: the same spec, state and results give the same outcome,
whatever order the results came in.
"""
