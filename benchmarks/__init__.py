"""Figures against a bare client in the same run, on a real API server."""
