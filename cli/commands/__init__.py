"""The commands, one file each, found by file name and imported when they are invoked.

A file has one function, `command`; the first line of its docstring is what `segaway --help` lists.
"""
