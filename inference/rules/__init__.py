"""Rules of published systems, interpreted: which grid, which region, which rounds, which name.

A profile states them as data (`weights/medal-s/profile`), `data.py` checks them, the other files read them.
What they do is taken from facts about the authors' published code, numbered in `weights/medal-s/README.md`;
every function names the numbers it follows. Axes are (D,H,W). Nothing of the engine is imported here.
"""
