"""A paper's text → sentences, tables, typed numbers → draft claims that a person approves.

Nothing here guesses at random or asks a model: the same file gives the same drafts, offline, and
each quote has an address in the file. docs/claims.md tells how the commands are used.
"""
