"""The C form of `_begins.py`; all of it is in _begins.pxd."""
