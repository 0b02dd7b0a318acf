"""How fast Understudy trains: against the floors, against other libraries, and as data, terms and sweeps grow.

``make bench`` runs all of it and writes ``results/speed.md``; see docs/speed.md.
"""
