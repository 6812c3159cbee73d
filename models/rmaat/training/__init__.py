"""Recipes, the trainer, exact checkpoints and the floors that every score is printed beside."""
