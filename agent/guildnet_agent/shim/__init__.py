"""Process 1 of the work side: runs the command, keeps the editor up, hands over what was made.

It holds no credential but what the task's own environment names, and trusts only what the
supervisor wrote. Standard library only, and single-threaded: one loop reads the command's output,
looks for jobs and stop requests, and reaps.
"""
