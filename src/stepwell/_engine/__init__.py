"""The async shell: runs user code, calls the planner, feeds the journal.

It is handed a journal and never imports a driver.
"""
