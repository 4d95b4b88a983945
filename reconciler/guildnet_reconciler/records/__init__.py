"""The status branch, written."""
