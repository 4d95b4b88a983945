"""The nine steps of a pass, one module each: fetch, verify, diff per repository; load, plan,
guard, apply, prune, report per org. No step calls another; the passes call them in order."""
