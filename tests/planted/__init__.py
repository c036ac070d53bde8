"""Small programs with one bug each, to prove that the simulation finds what it says it finds.

The programs know Trio and nothing else. ``catalogue`` lists them, ``measuring`` counts the runs it
takes to find them.
"""
