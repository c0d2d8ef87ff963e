"""IBM's service: jobs, their journal and their price."""
