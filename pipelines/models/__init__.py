"""Estimators: fit, score, save, load. They know arrays and their own directory, and no file elsewhere."""
