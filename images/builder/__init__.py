"""Builds sandbox root filesystems from recipes; ../README.md says how to use and extend it."""
