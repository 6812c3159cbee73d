"""The report of a run: figures of every stage in one HTML page."""
