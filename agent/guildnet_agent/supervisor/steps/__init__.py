"""The steps of a start: prepare, run, publish; ``sequence`` runs them in order.

A step reads and changes the world through its ``StepContext`` and returns the start's progress.
"""
