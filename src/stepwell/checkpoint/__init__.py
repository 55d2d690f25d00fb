"""Savers: what users pass as `checkpointer=`; one module per database."""
