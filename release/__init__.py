"""What `make release` makes of one commit: packages, charts, bills of materials, lists, checksums.

It publishes nothing. Everything is made from the commit alone, so that two runs give equal bytes.
"""
