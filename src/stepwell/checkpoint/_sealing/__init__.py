"""Compression and encryption: a driver around another one."""
