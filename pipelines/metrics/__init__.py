"""What a ranking is worth: metrics at k, a trial of many scorers, significance, pictures and the report."""
