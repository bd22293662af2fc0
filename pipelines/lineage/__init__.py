"""What was done and by whom, and proof of it: audit log, signatures, approval, verification."""
