"""Data sets as flat token arrays: generators, readers of the official layouts, batches."""
