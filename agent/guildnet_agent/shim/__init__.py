"""Process 1 of the work container: runs the command and the editor, and hands over the work.

It has no credentials except those in the task's own environment, and trusts only files that the
supervisor wrote. It uses the standard library only and is single-threaded: one loop reads the
command's output, looks for jobs and stop requests, and reaps child processes.
"""
