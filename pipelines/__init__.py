"""shoploom: from a shop's raw data to served search and recommendation, every thread traceable."""
