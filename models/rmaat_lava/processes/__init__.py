"""Lava processes; importable only where `rmaat_lava.shim.install` has prepared the interpreter.

Lava executes every file of this folder at each compilation, so nothing else belongs here.
"""
