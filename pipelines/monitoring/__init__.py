"""Monitoring: how far a shop has moved from what its champion was trained on, and when to train again."""
