"""The node's side of segaway: plain Python, sent to the node as one zip file and run there.

Standard library alone, Python 3.9 and newer. The laptop imports `files`, so that what moves files
is the same code on both ends.
"""
