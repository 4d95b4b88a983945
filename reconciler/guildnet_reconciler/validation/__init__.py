"""Processes that validate files beside the reconciler, so that expensive ones do not hold up its
event loop, and can be ended."""
